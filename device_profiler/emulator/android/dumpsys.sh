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
  status=0 override=false tab='	' heat=/vendor/etc/emulator
  [ -r /data/property/thermal_status ] && { override=true; field status /data/property/thermal_status; }
  warmer=0   # than the sensors' files say: the skin is the phone's one thermal mass
  if [ -r $heat/heat ]; then
    read -r tau ambient limits < $heat/heat; read -r now skin launches < $heat/weather
    $override || for limit in $limits; do [ $skin -ge $limit ] && status=$((status + 1)); done
    for zone in /sys/class/thermal/thermal_zone*; do
      field t $zone/temp; field kind $zone/android_type; [ $kind = 3 ] && warmer=$((skin - t))
    done
  fi
  sensors=
  for zone in /sys/class/thermal/thermal_zone*; do
    field t $zone/temp; field kind $zone/android_type; field sensor $zone/type
    case $kind in 0|3) t=$((t + warmer)) ;; esac
    sensors="$sensors${tab}Temperature{mValue=$((t / 1000)).$((t % 1000 / 100)), mType=$kind, mName=$sensor, mStatus=$status}
"
  done
  echo "IsStatusOverride: $override
ThermalEventListeners:
${tab}callbacks: 0
${tab}killed: false
${tab}broadcasts count: -1
ThermalStatusListeners:
${tab}callbacks: 0
${tab}killed: false
${tab}broadcasts count: -1
Thermal Status: $status
Cached temperatures:
${sensors}HAL Ready: true
HAL connection:
${tab}ThermalHAL 2.0 connected: yes
Current temperatures from HAL:
${sensors}Current cooling devices from HAL:"
}
case $1 in
  battery|thermalservice) $1 ;;
  '') echo "Currently running services:"; echo "  battery"; echo "  thermalservice" ;;
  *) echo "Can't find service: $1" >&2; exit 20 ;;
esac
