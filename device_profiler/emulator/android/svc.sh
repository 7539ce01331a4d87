#!/system/bin/sh
# svc power stayon ...: the emulated phone has no screen and never sleeps.
[ "$1 $2" = "power stayon" ] || { echo "svc: unknown command $*" >&2; exit 1; }
