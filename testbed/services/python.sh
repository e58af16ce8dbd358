# What a Python program needs to read public events: somebody else's client of Kafka and of the registry.
# shellcheck shell=bash disable=SC2154

python_path() { echo "$lib/python"; }

python_download() {
  [ -s "$lib/python/done" ] && return
  say "downloading a Kafka client for Python"
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --upgrade \
    --target "$lib/python" "confluent-kafka[avro,schemaregistry]==2.*"
  echo yes >"$lib/python/done"
}
