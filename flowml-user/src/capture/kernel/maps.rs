//! The maps of the kernel object.

use std::os::fd::AsFd as _;

use aya::Ebpf;
use aya::maps::{Array, Map, MapData};

use super::super::error::CaptureError;
use super::super::shared::SharedArray;

pub(super) fn take_map(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, CaptureError> {
    ebpf.take_map(name).ok_or(CaptureError::NotOurObject { missing: name })
}

/// Another descriptor of the map that contains the variable.
pub(super) fn epoch_variable(ebpf: &Ebpf) -> Result<Array<MapData, u32>, CaptureError> {
    const VARIABLE: &str = ".data.epoch";
    let Some(Map::Array(data)) = ebpf.map(VARIABLE) else {
        return Err(CaptureError::NotOurObject { missing: VARIABLE });
    };
    let another = data.fd().as_fd().try_clone_to_owned();
    let another = another.map_err(|error| CaptureError::Map { name: VARIABLE, error })?;
    Ok(Map::from_map_data(MapData::from_fd(another)?)?.try_into()?)
}

/// Maps an array into memory. The object keeps the map, whose descriptor is written into the programs when they are
/// loaded.
pub(super) fn map_array<T: bytemuck::Pod>(
    ebpf: &Ebpf,
    name: &'static str,
    len: u32,
) -> Result<SharedArray<T>, CaptureError> {
    let Some(Map::Array(data)) = ebpf.map(name) else {
        return Err(CaptureError::NotOurObject { missing: name });
    };
    SharedArray::map(data.fd(), len as usize).map_err(|error| CaptureError::Map { name, error })
}
