//! The laboratory: network namespaces that remove themselves, frames, traffic, and the agent that meters it.
//!
//! All traffic stays in namespaces that [`lab::Lab`] made.

pub mod agent;
pub mod bpffs;
pub mod captures;
pub mod certificate;
pub mod corpus;
pub mod expressions;
pub mod fleet;
pub mod folder;
pub mod frames;
pub mod fuzz;
pub mod hooks;
pub mod lab;
pub mod metered;
pub mod nfstream;
pub mod objects;
pub mod peers;
pub mod proc_status;
pub mod process;
pub mod program;
pub mod replay;
pub mod scenario;
pub mod scrape;
pub mod screen;
pub mod soak;
pub mod terminal;
pub mod traffic;
pub mod twins;

// Parts of the agent's binary that tests need without a process.
#[path = "../../flowml-user/src/bin/flowml/args/mod.rs"]
#[expect(dead_code, unused_imports, reason = "tests parse arguments, and do not run commands")]
mod args;
#[path = "../../flowml-user/src/bin/flowml/report/page/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the soak test draws its measurements only")]
mod page;
