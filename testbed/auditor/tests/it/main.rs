//! The auditor on histories made by hand: what it predicts, and what it finds wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod observe;
mod predict;
mod said;
mod verify;
