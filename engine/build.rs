//! A migration that is added is a change of this crate: the macro that embeds them notices only changed ones.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
