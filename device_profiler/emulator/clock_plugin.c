/* TCG plugin of qemu-user 7.2 (plugin interface 1): the phone's virtual clock.
 *
 * Counts executed arm64 instructions by class and answers clock_gettime with
 *     first reading + (sum over classes of count x cycles) / GHz  [ns]
 * so that an unmodified program measures the same time in every run. Sleeps add what was asked for. One thread only:
 * with several, their times add up. Arguments: ghz=, integer=, simd=, load=, store=, branch= (cycles per instruction),
 * and those of clock_weather.c, without which nothing disturbs the clock.
 * Declarations are written out because Debian ships no header for this interface.
 */
#include "clock_weather.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { INLINE_ADD_U64 = 0 };
typedef void (*on_translate)(plugin_id, struct qemu_plugin_tb *);
typedef void (*on_syscall)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t);
typedef void (*on_return)(plugin_id, unsigned, int64_t, int64_t);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, on_translate);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
typedef void (*on_end)(plugin_id, void *);
extern void qemu_plugin_register_atexit_cb(plugin_id, on_end, void *);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, on_syscall);
extern void qemu_plugin_register_vcpu_syscall_ret_cb(plugin_id, on_return);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

int qemu_plugin_version = 1;

enum { INTEGER, SIMD, LOAD, STORE, BRANCH, CLASSES };
static const char *const names[CLASSES] = {"integer", "simd", "load", "store", "branch"};
static uint64_t executed[CLASSES];
static double cycles[CLASSES], ghz = 1.0;
static uint64_t slept_ns, worked_ns, seen_ns;

enum { NANOSLEEP = 101, CLOCK_GETTIME = 113, CLOCK_NANOSLEEP = 115, RELATIVE = 0 };
enum { CLOCKS = 8, PROCESS_CPU = 2, THREAD_CPU = 3, VCPUS = 4096 };
struct pending { uint64_t clock, answer, sleep_ns; };
static struct pending pending[VCPUS];
static uint64_t base_ns[CLOCKS];
static int has_base[CLOCKS];

/* Class of an instruction by A64's top level encoding groups (bits 28 to 25). */
static int class_of(uint32_t word)
{
    unsigned group = (word >> 25) & 15;
    if ((group & 7) == 7)
        return SIMD;
    if ((group & 5) == 4) {
        int literal = ((word >> 27) & 7) == 3 && !((word >> 24) & 1);
        return literal || ((word >> 22) & 1) ? LOAD : STORE;
    }
    return (group & 14) == 10 ? BRANCH : INTEGER;
}

static void translate(plugin_id id, struct qemu_plugin_tb *block)
{
    uint64_t found[CLASSES] = {0};
    size_t n = qemu_plugin_tb_n_insns(block);
    for (size_t i = 0; i < n; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof word);
        found[class_of(word)]++;
    }
    for (int k = 0; k < CLASSES; k++)
        if (found[k])
            qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &executed[k], found[k]);
}

static uint64_t counted_ns(void)
{
    double sum = 0;
    for (int k = 0; k < CLASSES; k++)
        sum += (double)executed[k] * cycles[k];
    return (uint64_t)(sum / ghz);
}

/* Time of all work so far, in the weather there is. */
static uint64_t working_ns(void)
{
    uint64_t counted = counted_ns();
    worked_ns += weather_work(counted - seen_ns);
    seen_ns = counted;
    return worked_ns;
}

/* A 64-bit program under 64-bit qemu: its addresses are ours. */
static uint64_t read_ns(uint64_t timespec)
{
    const int64_t *fields = (const int64_t *)timespec;
    return (uint64_t)fields[0] * 1000000000u + (uint64_t)fields[1];
}

static void before(plugin_id id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                   uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    struct pending *call = &pending[cpu % VCPUS];
    memset(call, 0, sizeof *call);
    if (number == CLOCK_GETTIME && a1 < CLOCKS) {
        call->clock = a1;
        call->answer = a2;
    } else if (number == NANOSLEEP && a1) {
        call->sleep_ns = read_ns(a1);
    } else if (number == CLOCK_NANOSLEEP && a2 == RELATIVE && a3) {
        call->sleep_ns = read_ns(a3);
    }
}

static void after(plugin_id id, unsigned cpu, int64_t number, int64_t result)
{
    struct pending *call = &pending[cpu % VCPUS];
    if (result == 0 && call->answer) {
        uint64_t *fields = (uint64_t *)call->answer, clock = call->clock, now = working_ns();
        if (clock != PROCESS_CPU && clock != THREAD_CPU) {
            now += slept_ns;
            if (!has_base[clock]) {
                has_base[clock] = 1;
                base_ns[clock] = fields[0] * 1000000000u + fields[1] - now;
            }
            now += base_ns[clock];
        }
        fields[0] = now / 1000000000u;
        fields[1] = now % 1000000000u;
    } else if (result == 0) {
        slept_ns += call->sleep_ns;
        weather_rest(call->sleep_ns);
    }
    memset(call, 0, sizeof *call);
}

static void end(plugin_id id, void *data)
{
    working_ns();
    weather_keep();
}

int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments)
{
    for (int i = 0; i < count; i++) {
        int known = weather_argument(arguments[i]) || read_argument(arguments[i], "ghz", &ghz);
        for (int k = 0; k < CLASSES; k++)
            known |= read_argument(arguments[i], names[k], &cycles[k]);
        if (!known)
            return -1;
    }
    weather_start();
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, end, NULL);
    qemu_plugin_register_vcpu_syscall_cb(id, before);
    qemu_plugin_register_vcpu_syscall_ret_cb(id, after);
    return 0;
}
