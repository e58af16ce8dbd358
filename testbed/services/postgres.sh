# PostgreSQL, as a cluster of its own, owned by Debian's user of that name: it refuses to run as root.
# shellcheck shell=bash disable=SC2154

# Outside the project: its user may not be able to look into it.
postgres_home=/var/tmp/crossfade-postgres-$(printf '%s' "$root" | cksum | cut -d ' ' -f 1)
postgres_bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1 || true)

as_postgres() { (cd / && setpriv --reuid postgres --regid postgres --clear-groups "$@"); }

postgres_url() { echo "postgres://crossfade:$(password postgres)@127.0.0.1:$(port postgres)/crossfade"; }

postgres_runs() { [ -n "$postgres_bin" ] && as_postgres "$postgres_bin/pg_ctl" -D "$postgres_home/data" status >/dev/null 2>&1; }

postgres_begin() {
  make_passwords
  postgres_bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
  # One that was made for a .services/ that is no more has a password that nobody knows.
  [ "$(cat "$postgres_home/password" 2>/dev/null)" = "$(password postgres)" ] || { postgres_stop && postgres_purge; }
  postgres_runs && return
  if [ ! -s "$postgres_home/data/PG_VERSION" ]; then
    say "making a database cluster in $postgres_home"
    install -d -o postgres -g postgres -m 700 "$postgres_home"
    (umask 077 && password postgres >"$postgres_home/password")
    chown postgres "$postgres_home/password"
    as_postgres "$postgres_bin/initdb" -D "$postgres_home/data" -U crossfade -A scram-sha-256 -E UTF8 --locale C.UTF-8 \
      --pwfile "$postgres_home/password" >/dev/null
  fi
  mkdir -p "$home/log"
  as_postgres "$postgres_bin/pg_ctl" -D "$postgres_home/data" -l "$postgres_home/log" -W start -o "-p $(port postgres) \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c shared_buffers=128MB -c max_connections=60" >/dev/null
  ln -sf "$postgres_home/log" "$home/log/postgres.log"
}

postgres_answers() { PGPASSWORD=$(password postgres) psql -h 127.0.0.1 -p "$(port postgres)" -U crossfade "$1" -Atc "select 1"; }

postgres_ready() {
  await PostgreSQL 30 postgres_answers postgres
  postgres_answers crossfade >/dev/null 2>&1 ||
    PGPASSWORD=$(password postgres) psql -q -h 127.0.0.1 -p "$(port postgres)" -U crossfade postgres -c "create database crossfade"
}

postgres_stop() {
  postgres_runs || return 0
  as_postgres "$postgres_bin/pg_ctl" -D "$postgres_home/data" -m fast stop >/dev/null
}

# Without a word to anybody, and nothing written any more.
postgres_kill() {
  postgres_runs || return 0
  as_postgres "$postgres_bin/pg_ctl" -D "$postgres_home/data" -m immediate stop >/dev/null
}

postgres_purge() { rm -rf "$postgres_home"; }
