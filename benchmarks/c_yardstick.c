/* The selective scan of src/umamba/ops/cpu in C: a yardstick for its generated code.

   Same algorithm. A task is one image and 32 channels; it walks in chunks of 32 steps whose inputs
   are copied to tiles; one state after another runs through a chunk with h and A in registers;
   the forward keeps the state before every chunk and the backward computes the chunk again from
   there. What the kernel can do and this file cannot: other layouts than channels-last, other
   numbers of channels than multiples of 32, z, bias, softplus, initial states, float64.

   Written with GCC's vector extensions, so that -march=native decides what they become. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#define ROW 32
#define CHUNK 32
#define MAX_STATES 256
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#define TOGETHER 2 /* vectors that advance together: 16 registers hold no more */
#define WIDTH (TOGETHER * LANES)
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float unaligned __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float v8 __attribute__((vector_size(32)));
typedef int32_t i8 __attribute__((vector_size(32)));
typedef float tile[CHUNK][ROW] __attribute__((aligned(64)));

/* What is known of the exponents dt A log2(e) of a chunk. */
enum exponents { SMALL, BOUNDED, ANY };

/* Sequences are (batch, length, channels), restart states (task, chunk, d_state, 32). */
struct arguments {
    int64_t batch, d_inner, length, d_state, threads;
    const float *u, *dt, *A, *B, *C, *D, *grad_y;
    float *y, *states, *grad_u, *grad_dt;
    float *grad_A, *grad_D; /* per image */
    float *grad_B, *grad_C; /* (task, d_state, padded length) */
};

struct job {
    const struct arguments *args;
    void (*work)(const struct arguments *, int64_t task);
    _Atomic int64_t next;
};

INLINE vec splat(float x) { return x - (vec){0}; }
INLINE vec load(const float *p) { return *(const unaligned *)p; }
INLINE void store(float *p, vec x) { *(unaligned *)p = x; }
INLINE vec select(ivec mask, vec x, vec y) { return (vec)((mask & (ivec)x) | (~mask & (ivec)y)); }

/* 2^f = 1 + f q(f), minimax on [-1/2, 1/2]; one is met exactly. */
INLINE vec q_of(vec f) {
    vec q = splat(0.00015353361971236386f);
    q = q * f + 0.001339887442974464f;
    q = q * f + 0.009618437357554913f;
    q = q * f + 0.05550332471096346f;
    q = q * f + 0.24022647913629594f;
    return q * f + 0.6931472028550718f;
}

INLINE vec exp2_of(vec x, enum exponents kind) {
    const float magic = 12582912.0f; /* 1.5 * 2^23 */
    if (kind == ANY) {
        x = select(x > 126.0f, splat(126.0f), x);
        x = select(x < -126.0f, splat(-126.0f), x);
    }
    vec shifted = x + magic;
    vec f = x - (shifted - magic);
    vec p = q_of(f) * f + 1.0f;
    return (vec)((ivec)p + ((ivec)shifted << 23));
}

/* One step: the decay (or the decay minus one, where exponents are small) and the next state. */
INLINE vec advance(vec *h, vec exponent, vec added, enum exponents kind) {
    if (kind == SMALL) {
        vec lacking = exponent * q_of(exponent);
        *h += lacking * *h + added;
        return lacking;
    }
    vec decay = exp2_of(exponent, kind);
    *h = decay * *h + added;
    return decay;
}

INLINE int any(ivec mask) {
    int64_t parts[sizeof(ivec) / 8], found = 0;
    memcpy(parts, &mask, sizeof mask);
    for (unsigned i = 0; i < sizeof(ivec) / 8; i++) found |= parts[i];
    return found != 0;
}

INLINE enum exponents kind_of(const float *dt_max, const float *A2) {
    ivec not_small = {0}, wild = {0};
    for (int c = 0; c < WIDTH; c += LANES) {
        vec x = load(dt_max + c) * load(A2 + c);
        not_small |= (x > 0.5f) | (x < -0.5f);
        wild |= (x > 126.0f) | (x < -126.0f);
    }
    return !any(not_small) ? SMALL : !any(wild) ? BOUNDED : ANY;
}

/* Scratch memory of one task. */
struct scratch {
    tile dt, u, dtu, y, grad_y, gate, grad_dt, decay;
    float hs[CHUNK + 1][ROW] __attribute__((aligned(64)));
    float lanes_B[CHUNK][8] __attribute__((aligned(64)));
    float lanes_C[CHUNK][8] __attribute__((aligned(64)));
    float A[MAX_STATES][ROW] __attribute__((aligned(64)));
    float A2[MAX_STATES][ROW] __attribute__((aligned(64)));
    float h[MAX_STATES][ROW] __attribute__((aligned(64))); /* backward: dL/dh */
    double sum_A[MAX_STATES][ROW], sum_D[ROW];
    float D[ROW] __attribute__((aligned(64)));
    float dt_max[ROW] __attribute__((aligned(64)));
};

/* Where a task and a chunk of it are. */
struct place {
    int64_t task, image, channel, n_chunks, start, steps, d_state;
    const float *B, *C; /* of the first step of the chunk */
};

static struct place begin(struct scratch *s, const struct arguments *a, int64_t task) {
    int64_t blocks = a->d_inner / ROW;
    struct place p = {.task = task, .image = task / blocks, .channel = task % blocks * ROW};
    p.n_chunks = (a->length + CHUNK - 1) / CHUNK;
    p.d_state = a->d_state;
    memset(s->h, 0, sizeof(float[ROW]) * p.d_state);
    memset(s->sum_A, 0, sizeof(double[ROW]) * p.d_state);
    memset(s->sum_D, 0, sizeof s->sum_D);
    for (int c = 0; c < ROW; c++) {
        s->D[c] = a->D[p.channel + c];
        for (int64_t n = 0; n < p.d_state; n++) {
            s->A[n][c] = a->A[(p.channel + c) * p.d_state + n];
            s->A2[n][c] = s->A[n][c] * 1.4426950408889634f;
        }
    }
    return p;
}

static int64_t offset(const struct arguments *a, const struct place *p, int64_t t) {
    return (p->image * a->length + p->start + t) * a->d_inner + p->channel;
}

static void enter_chunk(struct scratch *s, const struct arguments *a, struct place *p, int64_t k) {
    p->start = k * CHUNK;
    p->steps = a->length - p->start < CHUNK ? a->length - p->start : CHUNK;
    p->B = a->B + (p->image * a->length + p->start) * p->d_state;
    p->C = a->C + (p->image * a->length + p->start) * p->d_state;
    memset(s->dt_max, 0, sizeof s->dt_max);
    for (int64_t t = 0; t < p->steps; t++) {
        const float *dt = a->dt + offset(a, p, t), *u = a->u + offset(a, p, t);
        for (int c = 0; c < ROW; c += LANES) {
            vec dt_v = load(dt + c), u_v = load(u + c), top = load(s->dt_max + c);
            store(s->dt[t] + c, dt_v);
            store(s->u[t] + c, u_v);
            store(s->dtu[t] + c, dt_v * u_v);
            store(s->y[t] + c, load(s->D + c) * u_v);
            store(s->dt_max + c, select(dt_v > top, dt_v, top));
        }
    }
}

/* Forward */

INLINE void run_state(
    struct scratch *s, const struct place *p, int64_t n, int c, enum exponents kind) {
    vec h[TOGETHER], rate[TOGETHER];
    for (int k = 0; k < TOGETHER; k++) {
        h[k] = load(s->h[n] + c + k * LANES);
        rate[k] = load(s->A2[n] + c + k * LANES);
    }
    const float *B = p->B + n, *C = p->C + n;
    for (int64_t t = 0; t < p->steps; t++, B += p->d_state, C += p->d_state) {
        for (int k = 0; k < TOGETHER; k++) {
            int at = c + k * LANES;
            advance(&h[k], load(s->dt[t] + at) * rate[k], load(s->dtu[t] + at) * *B, kind);
            store(s->y[t] + at, h[k] * *C + load(s->y[t] + at));
        }
    }
    for (int k = 0; k < TOGETHER; k++) store(s->h[n] + c + k * LANES, h[k]);
}

static void forward_task(const struct arguments *a, int64_t task) {
    struct scratch scratch, *s = &scratch;
    struct place p = begin(s, a, task);
    for (int64_t k = 0; k < p.n_chunks; k++) {
        enter_chunk(s, a, &p, k);
        if (a->states)
            memcpy(a->states + (task * p.n_chunks + k) * p.d_state * ROW, s->h,
                   sizeof(float[ROW]) * p.d_state);
        for (int64_t n = 0; n < p.d_state; n++) {
            for (int c = 0; c < ROW; c += WIDTH) {
                enum exponents kind = kind_of(s->dt_max + c, s->A2[n] + c);
                if (kind == SMALL) run_state(s, &p, n, c, SMALL);
                else if (kind == BOUNDED) run_state(s, &p, n, c, BOUNDED);
                else run_state(s, &p, n, c, ANY);
            }
        }
        for (int64_t t = 0; t < p.steps; t++)
            memcpy(a->y + offset(a, &p, t), s->y[t], sizeof(float[ROW]));
    }
}

/* Backward */

INLINE void recompute(struct scratch *s, const struct arguments *a, const struct place *p,
                      int64_t n, int c, enum exponents kind) {
    int64_t chunk = p->task * p->n_chunks + p->start / CHUNK;
    const float *first = a->states + (chunk * p->d_state + n) * ROW + c;
    vec h[TOGETHER], rate[TOGETHER];
    for (int k = 0; k < TOGETHER; k++) {
        h[k] = load(first + k * LANES);
        rate[k] = load(s->A2[n] + c + k * LANES);
        store(s->hs[0] + c + k * LANES, h[k]);
    }
    const float *B = p->B + n;
    for (int64_t t = 0; t < p->steps; t++, B += p->d_state) {
        for (int k = 0; k < TOGETHER; k++) {
            int at = c + k * LANES;
            vec exponent = load(s->dt[t] + at) * rate[k];
            vec decay = advance(&h[k], exponent, load(s->dtu[t] + at) * *B, kind);
            store(s->decay[t] + at, decay);
            store(s->hs[t + 1] + at, h[k]);
        }
    }
}

/* Keep a vector of terms for the sum over channels. */
INLINE void keep(float *kept, vec terms, int c) {
#if LANES == 16
    v8 low = __builtin_shufflevector(terms, terms, 0, 1, 2, 3, 4, 5, 6, 7);
    v8 high = __builtin_shufflevector(terms, terms, 8, 9, 10, 11, 12, 13, 14, 15);
    *(v8 *)kept = (c ? *(v8 *)kept : (v8){0}) + low + high;
#else
    store(kept, c ? load(kept) + terms : terms);
#endif
}

/* Run g_t = C_t dL/dy_t + decay_{t+1} g_{t+1} and add up what it contributes. */
INLINE void retreat(struct scratch *s, const struct place *p, int64_t n, int c,
                    enum exponents kind) {
    vec g[TOGETHER], A[TOGETHER], sum_A[TOGETHER] = {0};
    for (int k = 0; k < TOGETHER; k++) {
        g[k] = load(s->h[n] + c + k * LANES);
        A[k] = load(s->A[n] + c + k * LANES);
    }
    for (int64_t t = p->steps - 1; t >= 0; t--) {
        float B = p->B[t * p->d_state + n], C = p->C[t * p->d_state + n];
        vec for_B = splat(0.0f), for_C = splat(0.0f);
        for (int k = 0; k < TOGETHER; k++) {
            int at = c + k * LANES;
            vec grad_y = load(s->grad_y[t] + at), decay = load(s->decay[t] + at);
            g[k] += grad_y * C;
            for_C += load(s->hs[t + 1] + at) * grad_y;
            for_B += load(s->dtu[t] + at) * g[k];
            store(s->gate[t] + at, g[k] * B + load(s->gate[t] + at));
            g[k] = kind == SMALL ? decay * g[k] + g[k] : decay * g[k];
            vec exponent = g[k] * load(s->hs[t] + at); /* dL / d(dt_t A) */
            store(s->grad_dt[t] + at, exponent * A[k] + load(s->grad_dt[t] + at));
            sum_A[k] += exponent * load(s->dt[t] + at);
        }
        keep(s->lanes_B[t], for_B, c);
        keep(s->lanes_C[t], for_C, c);
    }
    for (int k = 0; k < TOGETHER; k++) {
        store(s->h[n] + c + k * LANES, g[k]);
        for (int i = 0; i < LANES; i++) s->sum_A[n][c + k * LANES + i] += sum_A[k][i];
    }
}

INLINE v8 halves(v8 a, v8 b, i8 low, i8 high) {
    return __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, high);
}

/* Sum the lanes kept at every step; steps beyond the last leave rubbish in the padding. */
static void reduce_lanes(float kept[CHUNK][8], float *target) {
#if LANES >= 8
    const i8 a = {0, 1, 2, 3, 8, 9, 10, 11}, b = {4, 5, 6, 7, 12, 13, 14, 15};
    const i8 c = {0, 1, 4, 5, 8, 9, 12, 13}, d = {2, 3, 6, 7, 10, 11, 14, 15};
    const i8 e = {0, 2, 4, 6, 8, 10, 12, 14}, f = {1, 3, 5, 7, 9, 11, 13, 15};
    for (int t = 0; t < CHUNK; t += 8) {
        const v8 *v = (const v8 *)kept[t];
        v8 x = halves(halves(v[0], v[1], a, b), halves(v[2], v[3], a, b), c, d);
        v8 y = halves(halves(v[4], v[5], a, b), halves(v[6], v[7], a, b), c, d);
        v8 sums = halves(x, y, e, f);
        memcpy(target + t, &sums, sizeof sums);
    }
#else
    for (int t = 0; t < CHUNK; t++)
        target[t] = (kept[t][0] + kept[t][1]) + (kept[t][2] + kept[t][3]);
#endif
}

static void finish_chunk(struct scratch *s, const struct arguments *a, const struct place *p) {
    vec sum_D[ROW / LANES] = {0};
    for (int64_t t = 0; t < p->steps; t++) {
        float *grad_u = a->grad_u + offset(a, p, t), *grad_dt = a->grad_dt + offset(a, p, t);
        for (int c = 0; c < ROW; c += LANES) {
            vec u = load(s->u[t] + c), gate = load(s->gate[t] + c), grad_y = load(s->grad_y[t] + c);
            store(grad_dt + c, u * gate + load(s->grad_dt[t] + c));
            store(grad_u + c, load(s->dt[t] + c) * gate + load(s->D + c) * grad_y);
            sum_D[c / LANES] += u * grad_y;
        }
    }
    for (int c = 0; c < ROW; c++) s->sum_D[c] += sum_D[c / LANES][c % LANES];
}

INLINE void backward_state(struct scratch *s, const struct arguments *a, const struct place *p,
                           int64_t n, int c, enum exponents kind) {
    recompute(s, a, p, n, c, kind);
    retreat(s, p, n, c, kind);
}

static void backward_task(const struct arguments *a, int64_t task) {
    struct scratch scratch, *s = &scratch;
    struct place p = begin(s, a, task);
    memset(s->lanes_B, 0, sizeof s->lanes_B);
    memset(s->lanes_C, 0, sizeof s->lanes_C);
    for (int64_t k = p.n_chunks - 1; k >= 0; k--) {
        enter_chunk(s, a, &p, k);
        memset(s->gate, 0, sizeof s->gate);
        memset(s->grad_dt, 0, sizeof s->grad_dt);
        for (int64_t t = 0; t < p.steps; t++)
            memcpy(s->grad_y[t], a->grad_y + offset(a, &p, t), sizeof(float[ROW]));
        for (int64_t n = 0; n < p.d_state; n++) {
            for (int c = 0; c < ROW; c += WIDTH) {
                enum exponents kind = kind_of(s->dt_max + c, s->A2[n] + c);
                if (kind == SMALL) backward_state(s, a, &p, n, c, SMALL);
                else if (kind == BOUNDED) backward_state(s, a, &p, n, c, BOUNDED);
                else backward_state(s, a, &p, n, c, ANY);
            }
            int64_t row = (task * p.d_state + n) * p.n_chunks * CHUNK + p.start;
            reduce_lanes(s->lanes_B, a->grad_B + row);
            reduce_lanes(s->lanes_C, a->grad_C + row);
        }
        finish_chunk(s, a, &p);
    }
    int64_t channel = p.image * a->d_inner + p.channel;
    for (int c = 0; c < ROW; c++) {
        a->grad_D[channel + c] = (float)s->sum_D[c];
        for (int64_t n = 0; n < p.d_state; n++)
            a->grad_A[(channel + c) * p.d_state + n] = (float)s->sum_A[n][c];
    }
}

/* Threads */

static void *draw_tasks(void *pointer) {
    struct job *job = pointer;
    int64_t n_tasks = job->args->batch * (job->args->d_inner / ROW), task;
    while ((task = atomic_fetch_add(&job->next, 1)) < n_tasks) job->work(job->args, task);
    return NULL;
}

static int run(const struct arguments *a, void (*work)(const struct arguments *, int64_t)) {
    if (a->d_inner % ROW || a->d_state > MAX_STATES || a->threads > 64) return 1;
    struct job job = {.args = a, .work = work};
    pthread_t threads[64];
    int64_t started = 0;
    while (started < a->threads - 1 && !pthread_create(&threads[started], NULL, draw_tasks, &job))
        started++;
    draw_tasks(&job);
    for (int64_t i = 0; i < started; i++) pthread_join(threads[i], NULL);
    return started < a->threads - 1;
}

int forward(const struct arguments *a) { return run(a, forward_task); }
int backward(const struct arguments *a) { return run(a, backward_task); }
