#!/system/bin/sh
# cmd SERVICE ...: what a measuring session asks for.
mkdir -p /data/property
case "$1 $2" in
  "power set-fixed-performance-mode-enabled") echo "$3" > /data/property/fixed_performance ;;
  "thermalservice override-status") echo "$3" > /data/property/thermal_status ;;
  "thermalservice reset") rm -f /data/property/thermal_status ;;
  "thermalservice headroom")
    # 1.0 where throttling is severe, 0 at 30 degrees less (Android's TemperatureWatcher); the forecast is the present.
    folder=/vendor/etc/emulator headroom=0.6
    [ -r $folder/heat ] && headroom=$(awk 'NR == FNR { severe = $5; next } { print ($2 - severe + 30000) / 30000 }' \
      $folder/heat $folder/weather)
    echo "Headroom in $3 seconds: $headroom" ;;
  "battery get") [ "$3" = level ] && cat /sys/class/power_supply/battery/capacity ;;
  *) echo "cmd: Can't find service: $1" >&2; exit 20 ;;
esac
