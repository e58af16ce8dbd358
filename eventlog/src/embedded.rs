//! placeholder
/// placeholder
pub struct EmbeddedLog;
