# Certificates: an authority of our own, one certificate for all brokers, one that has expired, and an authority
# that nobody here trusts.
# shellcheck shell=bash disable=SC2154

tls=$home/tls

authority() {
  openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=$2" -keyout "$tls/$1.key" -out "$tls/$1.pem" 2>/dev/null
}

# A certificate signed by our authority: name, first and last day as openssl writes them.
certificate() {
  local name=$1 from=$2 to=$3
  openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout "$tls/$name.key" -out "$tls/$name.csr" 2>/dev/null
  mkdir -p "$tls/ca-of-$name"
  : >"$tls/ca-of-$name/index"
  cat >"$tls/ca-of-$name/conf" <<CONF
[ca]
default_ca = own
[own]
database = $tls/ca-of-$name/index
new_certs_dir = $tls/ca-of-$name
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = server
[any]
commonName = supplied
[server]
subjectAltName = DNS:localhost,IP:127.0.0.1
CONF
  openssl ca -batch -config "$tls/ca-of-$name/conf" -cert "$tls/ca.pem" -keyfile "$tls/ca.key" -notext \
    -startdate "$from" -enddate "$to" -in "$tls/$name.csr" -out "$tls/$name.pem" 2>/dev/null
  # As Kafka reads it: the key in PKCS#8, then the certificates.
  cat "$tls/$name.key" "$tls/$name.pem" "$tls/ca.pem" >"$tls/$name-store.pem"
}

tls_make() {
  [ -s "$tls/done" ] && return
  say "making certificates"
  rm -rf "$tls"
  mkdir -p "$tls"
  authority ca "Crossfade trial authority"
  authority foreign-ca "Somebody else's authority"
  certificate broker 20250101000000Z 20350101000000Z
  certificate expired 20240101000000Z 20250101000000Z
  echo yes >"$tls/done"
}
