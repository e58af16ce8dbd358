# Three Kafka brokers that are controllers as well (KRaft), each with a plain listener for trials and for the brokers
# among themselves, and one with TLS and SASL. Broker 1 has another one whose certificate has expired.
# shellcheck shell=bash disable=SC2154

passwords=$home/passwords
# Who the brokers know: one who may do everything, one for each part, and one who may do nothing.
kafka_users=(admin crossfade engine relay comparator consumer nobody)

kafka_download() {
  [ -s "$lib/kafka/done" ] && return
  say "downloading Kafka"
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$lib/kafka"
  echo yes >"$lib/kafka/done"
}

password() { sed -n "s/^$1=//p" "$passwords"; }

make_passwords() {
  local user
  touch "$passwords"
  chmod 600 "$passwords"
  for user in "${kafka_users[@]}" postgres; do
    grep -q "^$user=" "$passwords" || echo "$user=$(openssl rand -hex 12)" >>"$passwords"
  done
}

# Who may come in, and how he says who he is. The tokens of OAUTHBEARER are not signed here: trials only.
logins() {
  local plain="org.apache.kafka.common.security.plain.PlainLoginModule required" user
  for user in "${kafka_users[@]}"; do plain="$plain user_$user=\"$(password "$user")\""; done
  echo "listener.name.$1.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512,OAUTHBEARER"
  echo "listener.name.$1.plain.sasl.jaas.config=$plain;"
  echo "listener.name.$1.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"
  echo "listener.name.$1.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
  echo "listener.name.$1.ssl.keystore.type=PEM"
  echo "listener.name.$1.ssl.keystore.location=$tls/$2-store.pem"
}

properties() {
  local n=$1 i voters="" listen
  for i in 1 2 3; do voters="$voters,$i@127.0.0.1:$(port "controller-$i")"; done
  listen="PLAIN://127.0.0.1:$(port "broker-$n"),SASL://127.0.0.1:$(port "sasl-$n")"
  [ "$n" != 1 ] || listen="$listen,EXPIRED://127.0.0.1:$(port expired-1)"
  cat <<CONF
process.roles=broker,controller
node.id=$n
controller.quorum.voters=${voters#,}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
listeners=$listen,CONTROLLER://127.0.0.1:$(port "controller-$n")
advertised.listeners=$listen
listener.security.protocol.map=PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,EXPIRED:SASL_SSL
$(logins sasl broker)
$(logins expired expired)
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS
allow.everyone.if.no.acl.found=false
log.dirs=$home/broker-$n
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
log.message.timestamp.type=LogAppendTime
unclean.leader.election.enable=false
offsets.topic.replication.factor=3
offsets.topic.num.partitions=6
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.num.partitions=3
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# A dead broker is noticed within seconds, so that trials need not wait for it.
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
replica.lag.time.max.ms=2000
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1500
leader.imbalance.check.interval.seconds=20
num.network.threads=2
num.io.threads=4
num.replica.fetchers=1
log.segment.bytes=67108864
log.cleaner.dedupe.buffer.size=8388608
CONF
}

broker_format() {
  local n=$1
  [ -s "$home/broker-$n/meta.properties" ] && return
  say "formatting broker $n"
  mkdir -p "$home/broker-$n"
  local scram=() user
  for user in "${kafka_users[@]}"; do
    scram+=(--add-scram "SCRAM-SHA-512=[name=$user,password=$(password "$user")]")
  done
  java -cp "$lib/kafka/*" -Dorg.slf4j.simpleLogger.defaultLogLevel=error kafka.tools.StorageTool \
    format -t Q3Jvc3NmYWRlLXRyaWFsIQ -c "$home/broker-$n.properties" "${scram[@]}" >/dev/null
}

broker_start() {
  local n=$1
  running "broker-$n" && return
  properties "$n" >"$home/broker-$n.properties"
  broker_format "$n"
  launch "broker-$n" java -Xms640m -Xmx640m -Xmn256m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError \
    -javaagent:"$lib/kafka/jmx_prometheus_javaagent-1.0.1.jar=127.0.0.1:$(port "jmx-$n"):$root/dashboards/kafka-jmx.yml" \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true \
    -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS \
    -cp "$lib/kafka/*" kafka.Kafka "$home/broker-$n.properties"
}

# In the cluster, and serving: it says so itself.
broker_serves() {
  answers "$(port "broker-$1")" && curl -sf -m 2 "http://127.0.0.1:$(port "jmx-$1")/metrics" |
    grep -q '^kafka_server_broker_state 3'
}

# Beside a loaded machine's other work it takes minutes to start.
broker_ready() { await "broker $1" 240 broker_serves "$1"; }

kafka_begin() {
  kafka_download
  tls_make
  make_passwords
  local n
  for n in 1 2 3; do broker_start "$n"; done
}

kafka_ready() {
  local n
  for n in 1 2 3; do broker_ready "$n"; done
}

# Three addresses of one kind of listener.
addresses() {
  local n all=""
  for n in 1 2 3; do all="$all,127.0.0.1:$(port "$1-$n")"; done
  echo "${all#,}"
}

kafka_env() {
  put CROSSFADE_KAFKA_BOOTSTRAP "$(addresses broker)"
  put CROSSFADE_TRIAL_KAFKA_SASL_BOOTSTRAP "$(addresses sasl)"
  put CROSSFADE_TRIAL_KAFKA_EXPIRED_BOOTSTRAP "127.0.0.1:$(port expired-1)"
  put CROSSFADE_TRIAL_KAFKA_JMX "$(addresses jmx)"
  put CROSSFADE_TRIAL_KAFKA_CA "$tls/ca.pem"
  put CROSSFADE_TRIAL_KAFKA_FOREIGN_CA "$tls/foreign-ca.pem"
  put CROSSFADE_TRIAL_TLS_IDENTITY "$tls/broker-store.pem"
  put CROSSFADE_TRIAL_KAFKA_USER crossfade
  put CROSSFADE_TRIAL_KAFKA_PASSWORD "$(password crossfade)"
  local user
  for user in "${kafka_users[@]}"; do put "CROSSFADE_TRIAL_KAFKA_${user^^}_PASSWORD" "$(password "$user")"; done
}
