#!/system/bin/sh
# dumpsys battery | thermalservice, in AOSP's format, from the phone's sysfs.
battery=/sys/class/power_supply/battery
field() { read -r "$1" < "$2"; }   # no process: each costs 20 ms here
battery() {
  for name in capacity charge_counter voltage_now temp status; do field $name $battery/$name; done
  code=3 powered=false; [ $status = Charging ] && code=2 powered=true
  echo "Current Battery Service state:
  AC powered: false
  USB powered: $powered
  Wireless powered: false
  Dock powered: false
  Max charging current: 500000
  Max charging voltage: 5000000
  Charge counter: $charge_counter
  status: $code
  health: 2
  present: true
  level: $capacity
  scale: 100
  voltage: $((voltage_now / 1000))
  temperature: $temp
  technology: Li-ion"
}
thermalservice() {
  status=0 override=false
  [ -r /data/property/thermal_status ] && { override=true; field status /data/property/thermal_status; }
  printf 'IsStatusOverride: %s\nThermalEventListeners:\n\tcallbacks: 0\n\tkilled: false\n\tbroadcasts count: -1\n' $override
  printf 'ThermalStatusListeners:\n\tcallbacks: 0\n\tkilled: false\n\tbroadcasts count: -1\n'
  printf 'Thermal Status: %s\nCached temperatures:\n' $status
  temperatures
  printf 'HAL Ready: true\nHAL connection:\n\tThermalHAL 2.0 connected: yes\nCurrent temperatures from HAL:\n'
  temperatures
}
temperatures() {
  for zone in /sys/class/thermal/thermal_zone*; do
    field t $zone/temp; field kind $zone/android_type; field sensor $zone/type
    printf '\tTemperature{mValue=%d.%d, mType=%d, mName=%s, mStatus=%d}\n' $((t / 1000)) $((t % 1000 / 100)) \
      $kind $sensor $status
  done
}
case $1 in
  battery|thermalservice) $1 ;;
  '') echo "Currently running services:"; echo "  battery"; echo "  thermalservice" ;;
  *) echo "Can't find service: $1" >&2; exit 20 ;;
esac
