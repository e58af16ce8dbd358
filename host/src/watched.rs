//! A value that many wait for.
//!
//! Unlike with a watch channel of the runtime, whoever waits is woken in the order of coming: on one thread the same happens
//! every time.

use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub struct Watched<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Copy> Watched<T> {
    /// It is this at first.
    pub fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    /// What it is now.
    pub fn get(&self) -> T {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is this.
    pub fn set(&self, value: T) {
        self.change(|now| *now = value);
    }

    /// Changes it.
    pub fn change(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.value.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
    }

    /// Waits until it is as wanted; what it is then.
    pub async fn wait_for(&self, wanted: impl Fn(T) -> bool) -> T {
        loop {
            // Listens before it looks: what happens between the two is not missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let now = self.get();
            if wanted(now) {
                return now;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task;
    use std::sync::Arc;

    #[tokio::test]
    async fn who_waits_is_woken_in_the_order_of_coming() {
        let (watched, woken) = (Arc::new(Watched::new(0)), Arc::new(Mutex::new(Vec::new())));
        let waiting: Vec<_> = (0..20)
            .map(|number| {
                let (watched, woken) = (Arc::clone(&watched), Arc::clone(&woken));
                task::spawn(async move {
                    let at = watched.wait_for(|now| now >= 2).await;
                    woken.lock().unwrap().push((number, at));
                })
            })
            .collect();
        task::yield_now().await;
        watched.set(1);
        task::yield_now().await;
        watched.change(|now| *now += 1);
        for waiting in waiting {
            waiting.await.unwrap();
        }
        assert_eq!(*woken.lock().unwrap(), (0..20).map(|number| (number, 2)).collect::<Vec<_>>());
        assert_eq!(watched.wait_for(|now| now == 2).await, 2);
    }
}
