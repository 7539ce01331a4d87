#!/system/bin/sh
# idle SECONDS: so much virtual time passes at once, without work; the phone cools. Of the emulated phone only.
folder=/vendor/etc/emulator
[ -r $folder/heat ] || exit 0
# exp(-x): halved until small, then squared as often; this awk has no mathematics.
awk -v seconds="$1" 'NR == FNR { tau = $1; ambient = $2; next }
  { x = seconds / tau; for (n = 0; x > 0.001; n++) x /= 2
    share = 1 - x + x * x / 2; while (n-- > 0) share *= share
    printf "%.0f %.0f %s\n", $1 + seconds * 1e9, ambient + ($2 - ambient) * share, $3 }' \
  $folder/heat $folder/weather > $folder/weather.idle && mv $folder/weather.idle $folder/weather
