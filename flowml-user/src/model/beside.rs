//! Learning a model beside the path of the rows: on a thread of its own, which gives way to all others.

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use rustix::process::setpriority_process;

/// How the thread gives way (setpriority(2), of a thread where none is named): 10 of 19.
const NICE: i32 = 10;

/// Where a learner makes its first model.
#[derive(Debug, Default)]
pub(super) enum Place<T> {
    /// At once, with the row that ends the warm-up: the same rows give the same verdicts.
    #[default]
    OnPath,
    /// Beside: rows go on without verdicts until it is made. That is under way where there is a job.
    Beside(Option<Job<T>>),
}

/// A model in the making.
#[derive(Debug)]
pub(super) struct Job<T>(Receiver<T>);

impl<T> Clone for Place<T> {
    /// A copy of a learner learns by itself.
    fn clone(&self) -> Self {
        match self {
            Self::OnPath => Self::OnPath,
            Self::Beside(_) => Self::Beside(None),
        }
    }
}

impl<T: Send + 'static> Job<T> {
    /// Begins it; none where the system has no room for a thread.
    pub(super) fn begin(work: impl FnOnce() -> T + Send + 'static) -> Option<Self> {
        let (sender, result) = channel();
        let started = thread::Builder::new().name("learner".to_owned()).spawn(move || {
            // Where that is refused it only takes more of the processor.
            let _ = setpriority_process(None, NICE);
            // The learner may have gone.
            let _ = sender.send(work());
        });
        started.is_ok().then_some(Self(result))
    }

    /// What was made; nothing while it is not, and an error where nothing will be.
    pub(super) fn outcome(&self) -> Result<Option<T>, Gone> {
        match self.0.try_recv() {
            Ok(made) => Ok(Some(made)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Gone),
        }
    }
}

/// The thread has ended without a result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone;
