#!/system/bin/sh
# cmd SERVICE ...: what a measuring session asks for.
mkdir -p /data/property
case "$1 $2" in
  "power set-fixed-performance-mode-enabled") echo "$3" > /data/property/fixed_performance ;;
  "thermalservice override-status") echo "$3" > /data/property/thermal_status ;;
  "thermalservice reset") rm -f /data/property/thermal_status ;;
  "thermalservice headroom") echo "Headroom in $3 seconds: 0.6" ;;
  "battery get") [ "$3" = level ] && cat /sys/class/power_supply/battery/capacity ;;
  *) echo "cmd: Can't find service: $1" >&2; exit 20 ;;
esac
