//! One busy thread on each core, as a neighbour that computes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use micring::sys::host;

/// Stops them when dropped.
pub struct Hogs {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hogs {
    pub fn on(cores: &[usize]) -> Hogs {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = cores
            .iter()
            .map(|&core| {
                let stop = stop.clone();
                std::thread::spawn(move || {
                    host::pin_to(core).expect("a hog has its core");
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        Hogs { stop, threads }
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
