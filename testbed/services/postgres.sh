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
  postgres_tls
  mkdir -p "$home/log"
  as_postgres "$postgres_bin/pg_ctl" -D "$postgres_home/data" -l "$postgres_home/log" -W start -o "-p $(port postgres) \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c shared_buffers=128MB -c max_connections=60 \
    -c ssl=on -c ssl_cert_file=$postgres_home/tls.pem -c ssl_key_file=$postgres_home/tls.key" >/dev/null
  ln -sf "$postgres_home/log" "$home/log/postgres.log"
}

# With the brokers' certificate. The role `tls_only` is let in by TLS only, others as they like.
postgres_tls() {
  local rule="hostnossl all tls_only 127.0.0.1/32 reject"
  tls_make
  install -o postgres -g postgres -m 600 "$tls/broker.pem" "$postgres_home/tls.pem"
  install -o postgres -g postgres -m 600 "$tls/broker.key" "$postgres_home/tls.key"
  grep -qxF "$rule" "$postgres_home/data/pg_hba.conf" || sed -i "1i $rule" "$postgres_home/data/pg_hba.conf"
}

postgres_answers() { PGPASSWORD=$(password postgres) psql -h 127.0.0.1 -p "$(port postgres)" -U crossfade "$1" -Atc "select 1"; }

postgres_ready() {
  await PostgreSQL 30 postgres_answers postgres
  postgres_answers crossfade >/dev/null 2>&1 ||
    postgres_sql "create database crossfade"
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

# A tablespace `small` on a disk of its own of so many megabytes, that can be full.
postgres_small_disk_make() {
  postgres_small_disk_drop
  install -d -o postgres -g postgres -m 700 "$postgres_home/small"
  mount -t tmpfs -o "size=$1m,mode=700,uid=postgres,gid=postgres" small "$postgres_home/small"
  postgres_sql "create tablespace small location '$postgres_home/small'"
}

# With what is left on it of a test that failed.
postgres_small_disk_drop() {
  local database
  for database in $(postgres_sql "select datname from pg_database d, pg_tablespace t where dattablespace = t.oid and spcname = 'small'"); do
    postgres_sql "drop database \"$database\" with (force)"
  done
  postgres_sql "drop tablespace if exists small"
  if mountpoint -q "$postgres_home/small"; then umount "$postgres_home/small"; fi
}

postgres_sql() {
  PGPASSWORD=$(password postgres) PGOPTIONS="-c client_min_messages=warning" psql -q -h 127.0.0.1 -p "$(port postgres)" -U crossfade postgres -v ON_ERROR_STOP=1 -Atc "$1"
}

postgres_purge() {
  if mountpoint -q "$postgres_home/small" 2>/dev/null; then umount "$postgres_home/small"; fi
  rm -rf "$postgres_home"
}
