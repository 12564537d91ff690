//! Errors that wgpu reports on the side, kept until someone looks.
//!
//! Left alone, wgpu panics on an error that no scope catches. Here the first is stored, and every
//! operation of the runtime ends with [`Faults::check`].

use crate::error::RuntimeError;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug)]
enum Fault {
    OutOfMemory,
    Refused(String),
    Lost(String),
}

/// The first error of a device.
#[derive(Debug)]
pub(crate) struct Faults {
    device: String,
    first: Mutex<Option<Fault>>,
}

impl Faults {
    /// Catches all errors of `device` from now on.
    pub(crate) fn watch(device: &wgpu::Device, name: &str) -> Arc<Faults> {
        let faults = Arc::new(Faults { device: name.to_owned(), first: Mutex::new(None) });
        let stored = Arc::clone(&faults);
        device.on_uncaptured_error(Arc::new(move |error| stored.store(fault(error))));
        let stored = Arc::clone(&faults);
        device.set_device_lost_callback(move |reason, why| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                stored.store(Fault::Lost(why));
            }
        });
        faults
    }

    fn store(&self, fault: Fault) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = matches!(fault, Fault::Lost(_));
        // A lost device explains whatever was refused because of it.
        if first.is_none() || lost {
            *first = Some(fault);
        }
    }

    /// The error stored, if any. Only the loss of the device stays stored.
    pub(crate) fn check(&self, during: &str) -> Result<(), RuntimeError> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let during = during.to_owned();
        match first.take() {
            None => Ok(()),
            Some(Fault::OutOfMemory) => {
                Err(RuntimeError::OutOfMemory { device: self.device.clone(), during })
            }
            Some(Fault::Refused(why)) => Err(RuntimeError::Refused { during, why }),
            Some(Fault::Lost(why)) => {
                *first = Some(Fault::Lost(why.clone()));
                Err(RuntimeError::DeviceLost { during, why })
            }
        }
    }
}

fn fault(error: wgpu::Error) -> Fault {
    match error {
        wgpu::Error::OutOfMemory { .. } => Fault::OutOfMemory,
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            Fault::Refused(description)
        }
    }
}
