//! End-to-end runs: the real binary as processes, real traffic, an independent auditor.
//!
//! | module | what |
//! |---|---|
//! | [`process`] | one `crossfade` process: started, awaited until ready, killed |
//! | [`system`] | all parts, as one process or as several, in a temporary directory |
//! | [`fronts`] | two fronts on lines that can be disturbed, and a dial that moves |
//! | [`replay`] | a real bank's year |
//! | [`looks`] | somebody who asks for the past all the time |
//! | [`checks`] | what has to hold after every run |
//! | [`traces`] | what the log itself says of order and of who decided when |
//! | [`engines`] | several engines on one Kafka cluster |
//! | [`services`] | the trial services, to be treated badly |

pub mod checks;
pub mod engines;
pub mod fronts;
pub mod looks;
pub mod process;
pub mod replay;
pub mod services;
pub mod system;
pub mod traces;
