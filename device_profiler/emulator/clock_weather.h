/* What disturbs the virtual clock, where that is asked for: seeded noise, drift and interruptions, and heat. */
#ifndef CLOCK_WEATHER_H
#define CLOCK_WEATHER_H

#include <stdint.h>

/* Takes "name=value" if the name is one of the weather's; then 1. */
int weather_argument(const char *argument);

/* Reads the phone's state; after the arguments. */
void weather_start(void);

/* Time that work took which takes `ns` on the calm, cool phone. */
uint64_t weather_work(uint64_t ns);

/* `ns` passed without work. */
void weather_rest(uint64_t ns);

/* Writes the phone's state. */
void weather_keep(void);

/* Takes "name=value" into `value` if the name is this one; then 1. */
int read_argument(const char *argument, const char *name, double *value);

#endif
