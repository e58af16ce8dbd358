# Ports: free ones below the range that outgoing connections take theirs from, chosen once and kept.
# shellcheck shell=bash disable=SC2154

listeners="broker-1 broker-2 broker-3 controller-1 controller-2 controller-3 sasl-1 sasl-2 sasl-3 expired-1 \
jmx-1 jmx-2 jmx-3 registry registry-management postgres"

port() { cat "$home/ports/$1"; }

choose_ports() {
  mkdir -p "$home/ports"
  local name next
  next=$((12000 + RANDOM % 6000))
  for name in $listeners; do
    [ -s "$home/ports/$name" ] && continue
    while answers "$next"; do next=$((next + 1)); done
    echo "$next" >"$home/ports/$name"
    next=$((next + 1))
  done
}
