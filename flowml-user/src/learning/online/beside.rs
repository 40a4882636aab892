//! Makes a model on a thread of its own, with lower priority than all other threads.

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use rustix::process::setpriority_process;

/// The nice value of the thread (setpriority(2) on Linux applies to one thread): 10 of at most 19.
const NICE: i32 = 10;

/// The thread on which a learner makes its first model.
#[derive(Debug, Default)]
pub(crate) enum Place<T> {
    /// At once, on the row that ends the warm-up. The same rows then always give the same verdicts.
    #[default]
    OnPath,
    /// On a background thread. Rows have no verdicts until the model is made. If there is a job, it is being made.
    Beside(Option<Job<T>>),
}

/// A model that is being made.
#[derive(Debug)]
pub(crate) struct Job<T>(Receiver<T>);

impl<T> Clone for Place<T> {
    /// A cloned learner starts a job of its own.
    fn clone(&self) -> Self {
        match self {
            Self::OnPath => Self::OnPath,
            Self::Beside(_) => Self::Beside(None),
        }
    }
}

impl<T: Send + 'static> Job<T> {
    /// Starts the job; `None` if the system cannot start a thread.
    pub(crate) fn begin(work: impl FnOnce() -> T + Send + 'static) -> Option<Self> {
        let (sender, result) = channel();
        let started = thread::Builder::new().name("learner".to_owned()).spawn(move || {
            // If this is refused, the thread only takes more CPU time.
            let _ = setpriority_process(None, NICE);
            // The learner may have been dropped.
            let _ = sender.send(work());
        });
        started.is_ok().then_some(Self(result))
    }

    /// The result. It is `None` while the model is being made, and an error if making it failed.
    pub(crate) fn outcome(&self) -> Result<Option<T>, Gone> {
        match self.0.try_recv() {
            Ok(made) => Ok(Some(made)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Gone),
        }
    }
}

/// The thread has ended without a result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;
