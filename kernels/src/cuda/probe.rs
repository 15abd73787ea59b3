//! Asks whether this machine has an NVIDIA driver and a device, without ever aborting.
//!
//! The driver's library is opened at run time, and a call into a library that is not there aborts
//! the process. So nothing in [`crate::cuda`] may be called before [`probe()`] has said yes;
//! [`super::CudaDevice::new`] begins with it.

use std::fmt;

use cudarc::driver::{CudaContext, result, sys};

use super::error::{Context, CudaError};
use super::libraries;

/// The CUDA version a driver supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DriverVersion {
    /// Before the dot.
    pub major: u32,
    /// After the dot.
    pub minor: u32,
}

impl fmt::Display for DriverVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// A device's generation, such as 9.0 for Hopper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComputeCapability {
    /// Before the dot.
    pub major: u32,
    /// After the dot.
    pub minor: u32,
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// The oldest driver whose calls the bindings know: CUDA 13.0, driver 580.
pub const MIN_DRIVER: DriverVersion = DriverVersion { major: 13, minor: 0 };

/// The oldest device the kernels run on: Ampere (`cp.async`, bf16 tensor cores).
pub const MIN_COMPUTE_CAPABILITY: ComputeCapability = ComputeCapability { major: 8, minor: 0 };

/// The oldest device on which a kernel may begin while the one before it ends: Hopper.
pub(crate) const FIRST_WITH_OVERLAP: ComputeCapability = ComputeCapability { major: 9, minor: 0 };

/// What the driver says of one device.
#[derive(Debug, Clone)]
pub struct DeviceInfo {
    /// Its number.
    pub ordinal: usize,
    /// Its name, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its generation.
    pub compute_capability: ComputeCapability,
    /// Its memory.
    pub total_bytes: usize,
    /// How many multiprocessors it has.
    pub num_multiprocessors: usize,
    /// Most shared memory of a block of threads.
    pub max_shared_bytes: usize,
}

/// What was found on this machine.
#[derive(Debug, Clone)]
pub struct CudaProbe {
    /// The CUDA version the driver supports.
    pub driver: DriverVersion,
    /// The devices, by ordinal; never empty.
    pub devices: Vec<DeviceInfo>,
}

/// Looks for a driver that is new enough and for at least one device.
///
/// # Errors
///
/// [`CudaError::DriverMissing`], [`CudaError::DriverTooOld`] or [`CudaError::NoDevice`]: reasons to
/// run on the CPU. [`CudaError::Driver`] if the driver is there but broken.
pub fn probe() -> Result<CudaProbe, CudaError> {
    if !libraries::has_driver() {
        return Err(CudaError::DriverMissing);
    }
    let driver = driver_version()?;
    if driver < MIN_DRIVER {
        return Err(CudaError::DriverTooOld { found: driver, needed: MIN_DRIVER });
    }
    if let Err(source) = result::init() {
        return Err(match source.0 {
            sys::CUresult::CUDA_ERROR_NO_DEVICE => CudaError::NoDevice,
            _ => CudaError::Driver { call: "cuInit", source },
        });
    }
    let num_devices = result::device::get_count().context("cuDeviceGetCount")?;
    let devices = (0..num_devices).map(describe_device).collect::<Result<Vec<DeviceInfo>, CudaError>>()?;
    if devices.is_empty() {
        return Err(CudaError::NoDevice);
    }
    Ok(CudaProbe { driver, devices })
}

/// Bytes that are free on a device now. Opens its context for a moment, and takes no memory of its own.
///
/// # Errors
///
/// Those of [`probe()`]; [`CudaError::NoSuchDevice`].
pub fn free_bytes(ordinal: usize) -> Result<usize, CudaError> {
    let num_devices = probe()?.devices.len();
    if ordinal >= num_devices {
        return Err(CudaError::NoSuchDevice { ordinal, num_devices });
    }
    let context = CudaContext::new(ordinal).context("opening the device")?;
    let (free_bytes, _total_bytes) = context.mem_get_info().context("cuMemGetInfo")?;
    Ok(free_bytes)
}

fn driver_version() -> Result<DriverVersion, CudaError> {
    let mut version = 0;
    // SAFETY: the library is present, `cuDriverGetVersion` exists in every driver, needs no
    // initialisation, and writes one int.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().context("cuDriverGetVersion")?;
    let version = version.unsigned_abs();
    Ok(DriverVersion { major: version / 1000, minor: version % 1000 / 10 })
}

fn describe_device(ordinal: i32) -> Result<DeviceInfo, CudaError> {
    use sys::CUdevice_attribute_enum as Attribute;

    let device = result::device::get(ordinal).context("cuDeviceGet")?;
    let attribute = |attribute| {
        // SAFETY: `device` was returned by the driver just now, and devices never go away.
        unsafe { result::device::get_attribute(device, attribute) }.context("cuDeviceGetAttribute")
    };
    // SAFETY: as above.
    let total_bytes = unsafe { result::device::total_mem(device) }.context("cuDeviceTotalMem")?;
    Ok(DeviceInfo {
        ordinal: ordinal.unsigned_abs() as usize,
        name: result::device::get_name(device).context("cuDeviceGetName")?,
        compute_capability: ComputeCapability {
            major: attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?.unsigned_abs(),
            minor: attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?.unsigned_abs(),
        },
        total_bytes,
        num_multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.unsigned_abs()
            as usize,
        max_shared_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?
            .unsigned_abs() as usize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_on_any_machine_without_aborting() {
        match probe() {
            Ok(found) => {
                assert!(found.driver >= MIN_DRIVER);
                assert!(!found.devices.is_empty());
            }
            Err(reason) => assert!(!reason.to_string().is_empty()),
        }
    }

    #[test]
    fn versions_order_by_major_then_minor() {
        let version = |major, minor| DriverVersion { major, minor };
        assert!(version(12, 9) < MIN_DRIVER);
        assert!(version(13, 1) > MIN_DRIVER);
        assert_eq!(version(13, 0).to_string(), "13.0");
    }
}
