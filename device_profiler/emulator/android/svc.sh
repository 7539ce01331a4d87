#!/system/bin/sh
# svc power stayon true|false|usb|ac|wireless|dock: the setting that it writes; the emulated phone has no screen.
[ "$1 $2" = "power stayon" ] || { echo "svc: unknown command $*" >&2; exit 1; }
case $3 in true) plugs=15 ;; false) plugs=0 ;; ac) plugs=1 ;; usb) plugs=2 ;; wireless) plugs=4 ;; dock) plugs=8 ;; *) exit 1 ;; esac
settings put global stay_on_while_plugged_in $plugs
