# What the Python programs of the tests need: somebody else's client of Kafka and of the registry, and readers of YAML.
# shellcheck shell=bash disable=SC2154

python_packages=("confluent-kafka[avro,schemaregistry]==2.16.*" "PyYAML==6.*" "check-jsonschema==0.*")

python_path() { echo "$lib/python"; }

python_download() {
  [ "$(cat "$lib/python/done" 2>/dev/null)" = "${python_packages[*]}" ] && return
  say "downloading Python packages"
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --upgrade \
    --target "$lib/python" "${python_packages[@]}"
  echo "${python_packages[*]}" >"$lib/python/done"
}
