/* The weather of the virtual clock. Without arguments there is none, and every run takes the same time.
 *
 * Time of a stretch of work = its calm time x launch x drift(t) x (1 + noise) / speed(heat) + interruption
 *   launch, noise: normal, drawn once a process and once a stretch; drift(t): uniform values every drift_s seconds of
 *   virtual time, joined by lines; interruption: with probability `jitter` a stretch, uniform up to jitter_ms.
 *   All of them follow from `seed`, the number of the launch and the virtual time alone.
 * Heat: one lumped mass; its temperature tends to ambient + rise x speed^3 (the power of a core at lower clock and
 *   voltage) with time constant tau_s, to ambient without work. Above throttle_c the clock slows by slope a degree, down
 *   to `slowest`.
 * The state file "VIRTUAL_NS MILLICELSIUS LAUNCHES" carries on from process to process; time that passes outside of
 * pushed programs is no virtual time.
 */
#include "clock_weather.h"

#include <stdio.h>
#include <string.h>

enum { STEP_NS = 20000000, KEEP_NS = 100000000, ROOM = 256 };
static struct {
    double seed, launch, noise, drift, drift_s, jitter, jitter_ms;
    double ambient_c, rise_k, tau_s, throttle_c, slope, slowest;
} set = {.drift_s = 1, .tau_s = 0, .throttle_c = 1000, .slowest = 1};
static char state_path[ROOM];
static double now_ns, celsius, launch_factor = 1, kept_ns;
static uint64_t launches, generator;

int weather_argument(const char *argument)
{
    if (!strncmp(argument, "state=", 6)) {
        strncpy(state_path, argument + 6, sizeof state_path - 1);
        return 1;
    }
    return read_argument(argument, "seed", &set.seed) || read_argument(argument, "launch", &set.launch) ||
           read_argument(argument, "noise", &set.noise) || read_argument(argument, "drift", &set.drift) ||
           read_argument(argument, "drift_s", &set.drift_s) || read_argument(argument, "jitter", &set.jitter) ||
           read_argument(argument, "jitter_ms", &set.jitter_ms) ||
           read_argument(argument, "ambient_c", &set.ambient_c) || read_argument(argument, "rise_k", &set.rise_k) ||
           read_argument(argument, "tau_s", &set.tau_s) || read_argument(argument, "throttle_c", &set.throttle_c) ||
           read_argument(argument, "slope", &set.slope) || read_argument(argument, "slowest", &set.slowest);
}

/* splitmix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. */
static uint64_t mixed(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static double uniform_of(uint64_t x) { return (double)(mixed(x) >> 11) / 9007199254740992.0; }

static double uniform(void) { return uniform_of(generator++); }

/* Near enough to normal, without a mathematics library: the sum of twelve uniform numbers. */
static double normal(void)
{
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += uniform();
    return sum;
}

/* exp(-x) for x >= 0. */
static double decay(double x)
{
    int halvings = 0;
    for (; x > 1e-3; x /= 2)
        halvings++;
    double value = 1 - x + x * x / 2 - x * x * x / 6;
    for (; halvings; halvings--)
        value *= value;
    return value;
}

static double drift_at(double ns)
{
    double place = ns / 1e9 / set.drift_s;
    uint64_t knot = (uint64_t)place, base = mixed((uint64_t)set.seed) ^ 0x5bd1e995u;
    double before = uniform_of(base + knot), after = uniform_of(base + knot + 1), share = place - (double)knot;
    return 1 + set.drift * (2 * (before + (after - before) * share) - 1);
}

static double speed(void)
{
    double slowed = 1 - set.slope * (celsius - set.throttle_c);
    return slowed > 1 ? 1 : slowed < set.slowest ? set.slowest : slowed;
}

static void pass(double ns, double power)
{
    now_ns += ns;
    if (set.tau_s > 0) {
        double target = set.ambient_c + set.rise_k * power;
        celsius = target + (celsius - target) * decay(ns / 1e9 / set.tau_s);
    }
    if (now_ns - kept_ns > KEEP_NS)
        weather_keep();
}

uint64_t weather_work(uint64_t ns)
{
    if (!*state_path || !ns)
        return ns;
    double began = now_ns, factor = launch_factor * (1 + set.noise * normal());
    for (double left = (double)ns; left > 0; left -= STEP_NS) {
        double step = left < STEP_NS ? left : STEP_NS, pace = speed();
        pass(step * factor * (set.drift > 0 ? drift_at(now_ns) : 1) / pace, pace * pace * pace);
    }
    if (set.jitter > 0 && uniform() < set.jitter)
        pass(uniform() * set.jitter_ms * 1e6, 1);
    return (uint64_t)(now_ns - began);
}

void weather_rest(uint64_t ns)
{
    if (*state_path && ns)
        pass((double)ns, 0);
}

static void read_state(void)
{
    char text[ROOM] = {0};
    long long numbers[3] = {0};
    FILE *file = fopen(state_path, "re");
    if (!file)
        return;
    if (!fread(text, 1, sizeof text - 1, file))
        *text = 0;
    fclose(file);
    const char *p = text;
    for (int i = 0; i < 3; i++) {
        while (*p == ' ' || *p == '-')
            p++;
        for (; *p >= '0' && *p <= '9'; p++)
            numbers[i] = numbers[i] * 10 + (*p - '0');
    }
    now_ns = kept_ns = (double)numbers[0];
    celsius = (double)numbers[1] / 1000;
    launches = (uint64_t)numbers[2] + 1;
}

void weather_start(void)
{
    if (!*state_path)
        return;
    read_state();
    generator = mixed(mixed((uint64_t)set.seed) + launches);
    launch_factor = 1 + set.launch * normal();
    weather_keep();
}

void weather_keep(void)
{
    char partial[ROOM + 16];
    if (!*state_path)
        return;
    snprintf(partial, sizeof partial, "%s.partial", state_path);
    FILE *file = fopen(partial, "we");
    if (!file)
        return;
    fprintf(file, "%.0f %.0f %llu\n", now_ns, celsius * 1000, (unsigned long long)launches);
    fclose(file);
    rename(partial, state_path);
    kept_ns = now_ns;
}
