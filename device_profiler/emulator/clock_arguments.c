/* Arguments of the clock plugin: "name=value" with a plain decimal number.
 *
 * strtod of a newer C library would ask qemu's for symbols it lacks.
 */
#include "clock_weather.h"

#include <string.h>

int read_argument(const char *argument, const char *name, double *value)
{
    size_t n = strlen(name);
    if (strncmp(argument, name, n) || argument[n] != '=')
        return 0;
    double result = 0, scale = 0;
    for (const char *p = argument + n + 1; *p; p++) {
        if (*p == '.') {
            scale = 1;
        } else {
            result = result * 10 + (*p - '0');
            scale *= 10;
        }
    }
    *value = scale ? result / scale : result;
    return 1;
}
