//! What can only be seen from inside: a disk that fails.

use super::EmbeddedLog;
use super::store::Store;
use crate::port::{Log, NewRecord};
use redb::backends::FileBackend;
use redb::{Database, StorageBackend};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A file whose fsync fails when told to.
#[derive(Debug)]
struct FailingDisk {
    file: FileBackend,
    fails: Arc<AtomicBool>,
}

impl StorageBackend for FailingDisk {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("the disk is broken"));
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> std::io::Result<()> {
        self.file.close()
    }
}

/// Set for the child process: the file to write.
const CHILD: &str = "EVENTLOG_TEST_BROKEN_DISK";

/// Not a test of its own: what the child process of the next test runs.
#[tokio::test]
async fn child_whose_disk_fails() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let options =
        std::fs::OpenOptions::new().create(true).truncate(false).read(true).write(true).open(Path::new(&path));
    let fails = Arc::new(AtomicBool::new(false));
    let disk =
        FailingDisk { file: FileBackend::new(options.expect("a file")).expect("a disk"), fails: Arc::clone(&fails) };
    let store = Store::over(Database::builder().create_with_backend(disk).expect("a database")).expect("a store");
    let log = EmbeddedLog::start(store, None).expect("a log");
    log.append("t", 0, vec![NewRecord::of("good")]).await.expect("append");
    println!("acknowledged good .");
    fails.store(true, Ordering::SeqCst);
    let _ = log.append("t", 0, vec![NewRecord::of("bad")]).await;
    println!("answered bad .");
}

#[tokio::test]
async fn a_failed_fsync_aborts_the_process_and_acknowledges_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join(super::FILE);
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "embedded::tests::child_whose_disk_fails", "--nocapture", "--test-threads=1"])
        .env(CHILD, &path)
        .stderr(Stdio::null())
        .output()
        .expect("the child ran");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("acknowledged good ."), "{said}");
    assert!(!said.contains("answered bad ."), "{said}");
    assert_eq!(output.status.signal(), Some(6), "SIGABRT");
    let log = EmbeddedLog::open(directory.path()).expect("the log opens again");
    let first = log.read("t", 0, 0, 1).await.expect("read");
    assert_eq!(first[0].value, "good");
}
