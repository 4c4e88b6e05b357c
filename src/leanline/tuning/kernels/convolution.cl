// Two-dimensional convolution: output[y][x] = sum over j, i of filter[j][i] * image[y + j][x + i].
//
// A work-group computes a rectangle of block_size * tile_size pixels. Its window of the image, with
// the border that the filter needs, is copied to local memory first.
//
// Set when it is compiled: block_size_x, block_size_y (work-items), tile_size_x, tile_size_y (pixels
// of each), use_padding (rows of the window in local memory have an odd length, so that the rows'
// beginnings lie in different memory banks), read_only (the image is declared as never written
// and never aliased, so that the compiler may use a read-only cache), FILTER_WIDTH, FILTER_HEIGHT.

#define OUT_X (block_size_x * tile_size_x)
#define OUT_Y (block_size_y * tile_size_y)
#define IN_X (OUT_X + FILTER_WIDTH - 1)
#define IN_Y (OUT_Y + FILTER_HEIGHT - 1)

#if use_padding
#define ROW (IN_X | 1)
#else
#define ROW IN_X
#endif

#if read_only
#define IMAGE __global const float *restrict
#else
#define IMAGE __global float *
#endif

__kernel __attribute__((reqd_work_group_size(block_size_x, block_size_y, 1)))
void convolution(__global float *output, IMAGE image, __constant float *filter, const int width,
                 const int height) {
    __local float window[IN_Y * ROW];
    const int lx = get_local_id(0);
    const int ly = get_local_id(1);
    const int left = get_group_id(0) * OUT_X;
    const int top = get_group_id(1) * OUT_Y;
    const int in_width = width + FILTER_WIDTH - 1;
    const int in_height = height + FILTER_HEIGHT - 1;

    for (int y = ly; y < IN_Y; y += block_size_y) {
        // beyond the image any value will do: no pixel that is written needs it
        const int row = min(top + y, in_height - 1) * in_width;
        for (int x = lx; x < IN_X; x += block_size_x) {
            window[y * ROW + x] = image[row + min(left + x, in_width - 1)];
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);

    float sum[tile_size_y][tile_size_x];
    for (int ty = 0; ty < tile_size_y; ty++) {
        for (int tx = 0; tx < tile_size_x; tx++) {
            sum[ty][tx] = 0.0f;
        }
    }
    for (int j = 0; j < FILTER_HEIGHT; j++) {
        for (int i = 0; i < FILTER_WIDTH; i++) {
            const float weight = filter[j * FILTER_WIDTH + i];
            #pragma unroll
            for (int ty = 0; ty < tile_size_y; ty++) {
                #pragma unroll
                for (int tx = 0; tx < tile_size_x; tx++) {
                    sum[ty][tx] += weight * window[(ly + ty * block_size_y + j) * ROW
                                                   + lx + tx * block_size_x + i];
                }
            }
        }
    }
    for (int ty = 0; ty < tile_size_y; ty++) {
        const int y = top + ly + ty * block_size_y;
        for (int tx = 0; tx < tile_size_x; tx++) {
            const int x = left + lx + tx * block_size_x;
            if (x < width && y < height) {
                output[y * width + x] = sum[ty][tx];
            }
        }
    }
}
