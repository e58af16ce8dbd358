//! Who ships: per front its boot, the process that runs it, its connection, and how far it is durable.

use super::FrontEvent;
use host::task::Shutdown;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, watch};
use wire::ids::is_front_name;

/// A connection that was heard of within this time belongs to a living process (fronts speak every 100 ms).
const ALIVE_MICROS: i64 = 1_000_000;

/// Why a front is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unwelcome {
    /// For the front's operator.
    pub reason: String,
    /// Whether that may be over in a moment: the connection of an earlier boot of the front is being closed.
    pub passing: bool,
}

impl Unwelcome {
    fn because(reason: String) -> Self {
        Self { reason, passing: false }
    }
}

/// All fronts.
#[derive(Debug)]
pub(super) struct Registry {
    entries: Mutex<BTreeMap<String, Entry>>,
    /// Told while the entries are locked, so that coming and going are heard in the order in which they happened.
    events: mpsc::UnboundedSender<FrontEvent>,
}

#[derive(Debug)]
struct Entry {
    /// The last boot seen.
    boot: u64,
    /// The last sequence of that boot that is durable.
    durable: watch::Sender<u64>,
    /// Which process runs that boot, once one has said so to this relay.
    instance: Option<u64>,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    id: u64,
    instance: u64,
    /// Cuts it.
    cut: Shutdown,
    /// When something was heard on it, in microseconds since 1970.
    heard_micros: i64,
}

/// A front's place in the registry, held by its connection.
#[derive(Debug)]
pub(super) struct Session {
    /// The last sequence of the boot that was durable at the greeting.
    pub durable: u64,
    /// Later ones. Says also when one was durable already.
    pub acks: watch::Receiver<u64>,
}

impl Registry {
    /// What the log holds: per front its last boot, and that boot's last sequence; `events` hears who comes and goes.
    pub(super) fn of(shipped: &BTreeMap<String, (u64, u64)>, events: mpsc::UnboundedSender<FrontEvent>) -> Self {
        let entry = |(boot, durable): (u64, u64)| Entry {
            boot,
            durable: watch::Sender::new(durable),
            instance: None,
            connection: None,
        };
        let entries = shipped.iter().map(|(front, shipped)| (front.clone(), entry(*shipped))).collect();
        Self { entries: Mutex::new(entries), events }
    }

    /// A front says who it is, on a connection that `cut` can cut.
    ///
    /// # Errors
    /// Why it is not taken.
    pub(super) fn greet(
        &self,
        front: &str,
        boot: u64,
        instance: u64,
        connection: u64,
        cut: Shutdown,
        now_micros: i64,
    ) -> Result<Session, Unwelcome> {
        if !is_front_name(front) {
            return Err(Unwelcome::because(format!("`{front}` cannot name a front")));
        }
        let mut entries = self.lock();
        let entry = entries.entry(front.to_owned()).or_insert_with(|| Entry {
            boot: 0,
            durable: watch::Sender::new(0),
            instance: None,
            connection: None,
        });
        if boot < entry.boot {
            return Err(Unwelcome::because(format!(
                "boot {boot} of {front} is older than boot {} seen before: a front with a new directory needs a new \
                 name",
                entry.boot
            )));
        }
        if boot == entry.boot && entry.instance.is_some_and(|known| known != instance) {
            let reason = format!("another process ships boot {boot} of {front}: two fronts must not share a name");
            return Err(Unwelcome::because(reason));
        }
        if let Some(other) = &entry.connection
            && other.id != connection
        {
            let alive = now_micros.saturating_sub(other.heard_micros) < ALIVE_MICROS;
            if other.instance != instance && alive {
                let reason = format!("another process is connected as {front}: two fronts must not share a name");
                return Err(Unwelcome { reason, passing: true });
            }
            other.cut.stop();
        }
        if boot > entry.boot {
            entry.boot = boot;
            entry.durable = watch::Sender::new(0);
        }
        entry.instance = Some(instance);
        entry.connection = Some(Connection { id: connection, instance, cut, heard_micros: now_micros });
        let acks = entry.durable.subscribe();
        let durable = *acks.borrow();
        // With the delivery gone the relay is stopping.
        let _ = self.events.send(FrontEvent::Connected { front: front.to_owned(), boot });
        Ok(Session { durable, acks })
    }

    /// Something was heard from a front.
    pub(super) fn heard(&self, front: &str, connection: u64, now_micros: i64) {
        if let Some(current) = self.lock().get_mut(front).and_then(|entry| entry.connection.as_mut())
            && current.id == connection
        {
            current.heard_micros = now_micros;
        }
    }

    /// A connection has ended: the front is lost unless a newer one has taken its place.
    pub(super) fn gone(&self, front: &str, connection: u64) {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(front) else { return };
        if entry.connection.take_if(|current| current.id == connection).is_some() {
            let _ = self.events.send(FrontEvent::Lost(front.to_owned()));
        }
    }

    /// Everything of a boot up to this sequence is durable; said again when it was durable already.
    pub(super) fn durable(&self, front: &str, boot: u64, sequence: u64) {
        if let Some(entry) = self.lock().get(front)
            && entry.boot == boot
        {
            entry.durable.send_modify(|durable| *durable = sequence.max(*durable));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 10_000_000;

    fn registry() -> Registry {
        heard_by(mpsc::unbounded_channel().0)
    }

    fn heard_by(events: mpsc::UnboundedSender<FrontEvent>) -> Registry {
        Registry::of(&BTreeMap::from([("a".to_owned(), (3, 70))]), events)
    }

    fn greet(registry: &Registry, boot: u64, instance: u64, connection: u64, now: i64) -> Result<Session, Unwelcome> {
        registry.greet("a", boot, instance, connection, Shutdown::new(), now)
    }

    /// As [`greet`], keeping what would cut the connection.
    fn connect(registry: &Registry, boot: u64, instance: u64, connection: u64, now: i64) -> Shutdown {
        let cut = Shutdown::new();
        registry.greet("a", boot, instance, connection, cut.clone(), now).expect("it is taken");
        cut
    }

    #[test]
    fn a_front_goes_on_where_the_log_ends() {
        assert_eq!(greet(&registry(), 3, 9, 1, NOW).map(|session| session.durable), Ok(70));
        assert_eq!(greet(&registry(), 4, 9, 1, NOW).map(|session| session.durable), Ok(0));
    }

    #[test]
    fn older_boots_and_impossible_names_are_refused() {
        assert!(
            greet(&registry(), 2, 9, 1, NOW).is_err_and(|unwelcome| unwelcome.reason.contains("older than boot 3"))
        );
        let named = |name| registry().greet(name, 1, 9, 1, Shutdown::new(), NOW).map(|_| ());
        assert!(named("").is_err() && named("A B").is_err() && named("b").is_ok());
    }

    #[test]
    fn two_processes_of_one_name_are_told_apart() {
        let registry = registry();
        let first = connect(&registry, 3, 9, 1, NOW);
        assert!(greet(&registry, 3, 8, 2, NOW + 60_000_000).is_err(), "the same boot is another process's for good");
        assert!(greet(&registry, 4, 8, 2, NOW).is_err_and(|unwelcome| unwelcome.passing), "the first one is alive");
        assert!(!first.is_stopping());
        assert!(greet(&registry, 4, 8, 2, NOW + ALIVE_MICROS).is_ok(), "the first one is silent");
        assert!(first.is_stopping());
    }

    #[test]
    fn a_front_that_comes_again_replaces_its_own_connection() {
        let (events, mut heard) = mpsc::unbounded_channel();
        let registry = heard_by(events);
        let first = connect(&registry, 3, 9, 1, NOW);
        let second = connect(&registry, 3, 9, 2, NOW);
        assert!(first.is_stopping() && !second.is_stopping());
        registry.gone("a", 1);
        assert_eq!(heard.try_recv(), Ok(FrontEvent::Connected { front: "a".into(), boot: 3 }));
        assert_eq!(heard.try_recv(), Ok(FrontEvent::Connected { front: "a".into(), boot: 3 }));
        assert!(heard.try_recv().is_err(), "the newer connection stays");
        registry.gone("a", 2);
        assert_eq!(heard.try_recv(), Ok(FrontEvent::Lost("a".into())));
    }

    #[test]
    fn a_connection_may_go_on_with_the_next_boot() {
        let registry = registry();
        let old = greet(&registry, 3, 9, 1, NOW).expect("nobody else is there");
        let new = greet(&registry, 4, 8, 1, NOW).expect("it is the same connection");
        assert_eq!((old.durable, new.durable), (70, 0));
        registry.durable("a", 3, 71);
        assert_eq!(*new.acks.borrow(), 0, "that was the old boot");
        registry.durable("a", 4, 1);
        assert_eq!(*new.acks.borrow(), 1);
    }

    #[test]
    fn what_is_durable_is_said_again_to_one_that_repeats_itself() {
        let registry = registry();
        let mut session = greet(&registry, 3, 9, 1, NOW).expect("nobody else is there");
        registry.durable("a", 3, 60);
        assert!(session.acks.has_changed().expect("it is open"));
        assert_eq!(*session.acks.borrow_and_update(), 70, "never less than before");
    }
}
