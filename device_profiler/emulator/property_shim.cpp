// Preloaded into Debian's adbd: gives it the phone's system properties and its listening socket.
// Debian's adbd takes android::base::GetProperty from a library, so that a definition here comes first.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {
constexpr const char* kFiles[] = {"/system/build.prop", "/data/property/persistent"};
// A plain array: a string here would be constructed after start(), and lose what it was given.
char g_listen[128];

// The adbd's own children must not inherit the shim.
__attribute__((constructor)) void start() {
    if (const char* listen = getenv("ADBD_LISTEN")) strncpy(g_listen, listen, sizeof g_listen - 1);
    unsetenv("LD_PRELOAD");
    unsetenv("ADBD_LISTEN");
}

void read_property(const char* path, const std::string& key, std::string& value) {
    FILE* file = fopen(path, "re");
    if (!file) return;
    char line[1024];
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, key.c_str(), key.size()) != 0 || line[key.size()] != '=') continue;
        line[strcspn(line, "\r\n")] = 0;
        value = line + key.size() + 1;
    }
    fclose(file);
}
}  // namespace

namespace android {
namespace base {
std::string GetProperty(const std::string& key, const std::string& fallback) {
    if (key == "service.adb.listen_addrs" && g_listen[0]) return g_listen;
    std::string value = fallback;
    for (const char* path : kFiles) read_property(path, key, value);
    return value;
}
}  // namespace base
}  // namespace android
