// Which points lie inside a polygon: those from which a ray to the right crosses an odd number of
// edges.
//
// A work-item has tile_size points, block_size_x apart.
//
// Set when it is compiled: block_size_x, tile_size, between_method (how to tell that an edge begins
// on one side of the ray's line and ends on the other), use_precomputed_slopes (the edges' slopes
// are read, or divided anew), use_method (how crossings are counted), VERTICES.

#if between_method == 0
#define BETWEEN(first, y, last) (((first) > (y)) != ((last) > (y)))
#elif between_method == 1
#define BETWEEN(first, y, last) \
    ((((first) <= (y)) && ((y) < (last))) || (((last) <= (y)) && ((y) < (first))))
#elif between_method == 2
#define BETWEEN(first, y, last) ((int)((first) > (y)) ^ (int)((last) > (y)))
#else
#define BETWEEN(first, y, last) ((fmin((first), (last)) <= (y)) & ((y) < fmax((first), (last))))
#endif

__kernel __attribute__((reqd_work_group_size(block_size_x, 1, 1)))
void point_in_polygon(__global int *inside, __global const float2 *restrict points,
                      __constant float2 *vertices, __constant float *slopes, const int number) {
    const int first = get_group_id(0) * block_size_x * tile_size + get_local_id(0);
    float2 point[tile_size];
    int crossings[tile_size];
    #pragma unroll
    for (int t = 0; t < tile_size; t++) {
        point[t] = points[min(first + t * block_size_x, number - 1)];
        crossings[t] = 0;
    }

    float2 last = vertices[VERTICES - 1];
    for (int edge = 0; edge < VERTICES; edge++) {
        const float2 next = vertices[edge];
        #if use_precomputed_slopes
        const float slope = slopes[edge];
        #else
        const float slope = (next.x - last.x) / (next.y - last.y);
        #endif
        #pragma unroll
        for (int t = 0; t < tile_size; t++) {
            const float2 p = point[t];
            #if use_method == 0
            if (BETWEEN(last.y, p.y, next.y) && p.x < slope * (p.y - next.y) + next.x) {
                crossings[t] = !crossings[t];
            }
            #elif use_method == 1
            crossings[t] += BETWEEN(last.y, p.y, next.y)
                            & (int)(p.x < slope * (p.y - next.y) + next.x);
            #else
            if (BETWEEN(last.y, p.y, next.y)) {
                crossings[t] ^= (int)(p.x < slope * (p.y - next.y) + next.x);
            }
            #endif
        }
        last = next;
    }

    #pragma unroll
    for (int t = 0; t < tile_size; t++) {
        const int at = first + t * block_size_x;
        if (at < number) {
            inside[at] = crossings[t] & 1;
        }
    }
}
