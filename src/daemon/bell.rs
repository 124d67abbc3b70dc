//! The bell: `tokio-cron-scheduler` rings it once a second, and that is all it does. What is due
//! is decided by rows of the store, because the crate freezes time zones, may ring twice under
//! load, and forgets what was due while the process was down.

use std::sync::Arc;
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// Rings until it is stopped.
pub struct Bell {
    scheduler: JobScheduler,
    ring: Arc<Notify>,
}

impl Bell {
    /// Starts ringing.
    pub async fn start() -> Result<Self, JobSchedulerError> {
        let ring = Arc::new(Notify::new());
        let scheduler = JobScheduler::new().await?;
        let rope = Arc::clone(&ring);
        let job = Job::new_repeated(std::time::Duration::from_secs(1), move |_, _| {
            rope.notify_one();
        })?;
        scheduler.add(job).await?;
        scheduler.start().await?;
        Ok(Self { scheduler, ring })
    }

    /// Waits for the next ring. Rings that nobody waited for count as one.
    pub async fn rung(&self) {
        self.ring.notified().await;
    }

    /// Rings at once: a command, a reload, a reauthorization.
    pub fn ring(&self) {
        self.ring.notify_one();
    }

    /// Stops.
    pub async fn stop(&mut self) {
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::debug!(%error, "the scheduler did not stop in order");
        }
    }
}
