// Matrix product: c[n][m] = alpha * sum over k of a[k][m] * b[k][n] + beta * c[n][m].
//
// A work-group of MDIMC x NDIMC work-items computes a rectangle of MWG x NWG elements, KWG steps of
// k at a time. A work-item has every MDIMC-th vector of VWM elements along m, and every NDIMC-th
// vector of VWN along n.
//
// Set when it is compiled: MWG, NWG, KWG; MDIMC, NDIMC; MDIMA, NDIMB (work-items along m and n while
// a and b are copied to local memory); VWM, VWN (elements of a vector); SA, SB (whether the parts of
// a and b are copied to local memory); KWI (steps of k that are unrolled). M, N and K are multiples
// of MWG, NWG and KWG.

#if VWM == 1
typedef float vector_m;
#elif VWM == 2
typedef float2 vector_m;
#elif VWM == 4
typedef float4 vector_m;
#else
typedef float8 vector_m;
#endif

#if VWN == 1
typedef float vector_n;
#elif VWN == 2
typedef float2 vector_n;
#elif VWN == 4
typedef float4 vector_n;
#else
typedef float8 vector_n;
#endif

#define WORK_ITEMS (MDIMC * NDIMC)
#define VECTORS_M (MWG / VWM)   // of the rectangle
#define VECTORS_N (NWG / VWN)
#define OWN_M (VECTORS_M / MDIMC)   // of a work-item
#define OWN_N (VECTORS_N / NDIMC)

__kernel __attribute__((reqd_work_group_size(MDIMC, NDIMC, 1)))
void gemm(const int m_size, const int n_size, const int k_size, const float alpha, const float beta,
          __global const vector_m *restrict a, __global const vector_n *restrict b,
          __global vector_m *c) {
    const int im = get_local_id(0);
    const int in = get_local_id(1);
    const int first_m = get_group_id(0) * VECTORS_M;
    const int first_n = get_group_id(1) * VECTORS_N;
    const int row_m = m_size / VWM;   // vectors in a row of a and of c
    const int row_n = n_size / VWN;

#if SA
    __local vector_m part_a[KWG * VECTORS_M];
#endif
#if SB
    __local vector_n part_b[KWG * VECTORS_N];
#endif
#if SA || SB
    const int item = in * MDIMC + im;
#endif

    vector_m sum[OWN_N * VWN][OWN_M];
    for (int j = 0; j < OWN_N * VWN; j++) {
        for (int i = 0; i < OWN_M; i++) {
            sum[j][i] = (vector_m)(0.0f);
        }
    }

    for (int first_k = 0; first_k < k_size; first_k += KWG) {
#if SA
        for (int k = item / MDIMA; k < KWG; k += WORK_ITEMS / MDIMA) {
            for (int v = item % MDIMA; v < VECTORS_M; v += MDIMA) {
                part_a[k * VECTORS_M + v] = a[(first_k + k) * row_m + first_m + v];
            }
        }
#endif
#if SB
        for (int k = item / NDIMB; k < KWG; k += WORK_ITEMS / NDIMB) {
            for (int v = item % NDIMB; v < VECTORS_N; v += NDIMB) {
                part_b[k * VECTORS_N + v] = b[(first_k + k) * row_n + first_n + v];
            }
        }
#endif
#if SA || SB
        barrier(CLK_LOCAL_MEM_FENCE);
#endif
        for (int outer = 0; outer < KWG; outer += KWI) {
            #pragma unroll
            for (int inner = 0; inner < KWI; inner++) {
                const int k = outer + inner;
                vector_m own_a[OWN_M];
                vector_n own_b[OWN_N];
                #pragma unroll
                for (int i = 0; i < OWN_M; i++) {
#if SA
                    own_a[i] = part_a[k * VECTORS_M + im + i * MDIMC];
#else
                    own_a[i] = a[(first_k + k) * row_m + first_m + im + i * MDIMC];
#endif
                }
                #pragma unroll
                for (int j = 0; j < OWN_N; j++) {
#if SB
                    own_b[j] = part_b[k * VECTORS_N + in + j * NDIMC];
#else
                    own_b[j] = b[(first_k + k) * row_n + first_n + in + j * NDIMC];
#endif
                }
                const float *each_b = (const float *)own_b;
                #pragma unroll
                for (int j = 0; j < OWN_N * VWN; j++) {
                    #pragma unroll
                    for (int i = 0; i < OWN_M; i++) {
                        sum[j][i] += own_a[i] * each_b[j];
                    }
                }
            }
        }
#if SA || SB
        barrier(CLK_LOCAL_MEM_FENCE);
#endif
    }

    for (int j = 0; j < OWN_N; j++) {
        for (int element = 0; element < VWN; element++) {
            const int n = (first_n + in + j * NDIMC) * VWN + element;
            for (int i = 0; i < OWN_M; i++) {
                const int at = n * row_m + first_m + im + i * MDIMC;
                c[at] = alpha * sum[j * VWN + element][i] + beta * c[at];
            }
        }
    }
}
