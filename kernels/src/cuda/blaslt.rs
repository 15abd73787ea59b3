//! Large bf16 products by cuBLASLt, opened at run time if it is installed.
//!
//! `out[m, n] = x[m, k] * w[n, k]^T` with sums in f32. cuBLASLt counts columns first, so it is asked for
//! `out^T = w * x^T`, whose three matrices are ours as they lie. An algorithm is chosen once for a
//! shape and kept: choosing takes the host longer than the product may take the device, and a
//! recorded step must not choose.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::cublaslt::result::{self as lt, CublasError};
use cudarc::cublaslt::sys;
use cudarc::driver::CudaStream;
use half::bf16;

use super::arena::Arena;
use super::buffer::{DeviceBuffer, DeviceSlice, DeviceSliceMut};
use super::error::{Context, CudaError, expect_equal};
use super::libraries;

/// What NVIDIA recommends for Hopper. Given once, so that no product allocates.
const WORKSPACE_BYTES: usize = 32 << 20;

/// The element type of a product's output; inputs are bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Output {
    Bf16,
    F32,
}

/// What a product is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    m: usize,
    n: usize,
    k: usize,
    output: Output,
    /// Whether the product is added to what is in the output.
    accumulate: bool,
}

/// The library, its workspace and the algorithms chosen so far.
#[derive(Debug)]
pub(crate) struct BlasLt {
    handle: Handle,
    stream: Arc<CudaStream>,
    workspace: DeviceBuffer<u8>,
    plans: Mutex<HashMap<Shape, Plan>>,
}

#[derive(Debug)]
struct Handle(sys::cublasLtHandle_t);

// SAFETY: NVIDIA documents that a cuBLASLt handle may be used from several threads at once.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by `create_handle`, destroyed only here. There is nobody to tell of a failure.
        let _ = unsafe { lt::destroy_handle(self.0) };
    }
}

/// The descriptors and the algorithm of one shape.
#[derive(Debug)]
struct Plan {
    product: sys::cublasLtMatmulDesc_t,
    weights: sys::cublasLtMatrixLayout_t,
    input: sys::cublasLtMatrixLayout_t,
    output: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

// SAFETY: descriptors are plain host memory that only this plan names; they are not changed once made.
unsafe impl Send for Plan {}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: each was made in `Plan::new` and is destroyed only here. Null is refused with a
        // status, which nobody needs.
        unsafe {
            let _ = lt::destroy_matmul_desc(self.product);
            for layout in [self.weights, self.input, self.output] {
                let _ = lt::destroy_matrix_layout(layout);
            }
        }
    }
}

fn refused(call: &'static str) -> impl Fn(CublasError) -> CudaError {
    move |error| CudaError::Blas { call, status: error.to_string() }
}

impl BlasLt {
    /// Opens the library. `None` if it is not installed.
    pub(crate) fn open(stream: &Arc<CudaStream>, arena: &Arena) -> Result<Option<Self>, CudaError> {
        if !libraries::has_cublaslt() {
            return Ok(None);
        }
        stream.context().bind_to_thread().context("cuCtxSetCurrent")?;
        let handle = Handle(lt::create_handle().map_err(refused("cublasLtCreate"))?);
        let workspace = arena.alloc("the cuBLASLt workspace", WORKSPACE_BYTES)?;
        let plans = Mutex::default();
        Ok(Some(Self { handle, stream: Arc::clone(stream), workspace, plans }))
    }

    /// `out = x * w^T`, rounded to bf16.
    ///
    /// # Shapes
    ///
    /// - `x`: `[m, k]`, `w`: `[n, k]`, `out`: `[m, n]`
    pub(crate) fn product(
        &self,
        x: DeviceSlice<'_, bf16>,
        w: DeviceSlice<'_, bf16>,
        out: &mut DeviceSliceMut<'_, bf16>,
        [m, n, k]: [usize; 3],
    ) -> Result<(), CudaError> {
        expect_equal("cublaslt", "elements of out", out.len(), m * n)?;
        let shape = Shape { m, n, k, output: Output::Bf16, accumulate: false };
        self.run(shape, x, w, out.pointer())
    }

    /// `out = x * w^T`, or `out += x * w^T`, in f32.
    ///
    /// # Shapes
    ///
    /// - `x`: `[m, k]`, `w`: `[n, k]`, `out`: `[m, n]`
    pub(crate) fn product_f32(
        &self,
        x: DeviceSlice<'_, bf16>,
        w: DeviceSlice<'_, bf16>,
        out: &mut DeviceSliceMut<'_, f32>,
        [m, n, k]: [usize; 3],
        accumulate: bool,
    ) -> Result<(), CudaError> {
        expect_equal("cublaslt", "elements of out", out.len(), m * n)?;
        self.run(Shape { m, n, k, output: Output::F32, accumulate }, x, w, out.pointer())
    }

    fn run(
        &self,
        shape: Shape,
        x: DeviceSlice<'_, bf16>,
        w: DeviceSlice<'_, bf16>,
        out: u64,
    ) -> Result<(), CudaError> {
        expect_equal("cublaslt", "elements of x", x.len(), shape.m * shape.k)?;
        expect_equal("cublaslt", "elements of w", w.len(), shape.n * shape.k)?;
        if shape.m == 0 || shape.n == 0 {
            return Ok(());
        }
        self.stream.context().bind_to_thread().context("cuCtxSetCurrent")?;
        // A plan is inserted whole or not at all, so a panic elsewhere leaves the map sound.
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match plans.entry(shape) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Plan::new(&self.handle, shape)?),
        };
        let alpha = 1.0_f32;
        let beta = if shape.accumulate { 1.0_f32 } else { 0.0 };
        // SAFETY: the plan's layouts describe exactly the three ranges, whose lengths were checked
        // above; `out` comes from a mutable borrow, so it overlaps no input; the workspace has the
        // size the algorithm was chosen for and is used on this stream alone; scalars are read
        // before the call returns (pointer mode is host).
        unsafe {
            lt::matmul(
                self.handle.0,
                plan.product,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                w.pointer() as *const c_void,
                plan.weights,
                x.pointer() as *const c_void,
                plan.input,
                out as *const c_void,
                plan.output,
                out as *mut c_void,
                plan.output,
                &raw const plan.algorithm,
                self.workspace.as_slice().pointer() as *mut c_void,
                WORKSPACE_BYTES,
                self.stream.cu_stream().cast(),
            )
        }
        .map_err(refused("cublasLtMatmul"))
    }
}

impl Plan {
    fn new(handle: &Handle, shape: Shape) -> Result<Self, CudaError> {
        let Shape { m, n, k, output, .. } = shape;
        let output = match output {
            Output::Bf16 => sys::cudaDataType::CUDA_R_16BF,
            Output::F32 => sys::cudaDataType::CUDA_R_32F,
        };
        // Filled in step by step, so that whatever was made is destroyed if a later step fails.
        let mut plan = Self {
            product: std::ptr::null_mut(),
            weights: std::ptr::null_mut(),
            input: std::ptr::null_mut(),
            output: std::ptr::null_mut(),
            algorithm: sys::cublasLtMatmulAlgo_t { data: [0; 8] },
        };
        plan.product = lt::create_matmul_desc(
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cudaDataType::CUDA_R_32F,
        )
        .map_err(refused("cublasLtMatmulDescCreate"))?;
        // 1 means transposed: `w` lies as `[n, k]`, which column-first is a `k` by `n` matrix.
        let transposed = 1_i32;
        // SAFETY: the descriptor was made just now; the attribute is read as an int before return.
        unsafe {
            lt::set_matmul_desc_attribute(
                plan.product,
                sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
                (&raw const transposed).cast(),
                size_of::<i32>(),
            )
        }
        .map_err(refused("setting a product's transposition"))?;
        let layout = |kind, rows: usize, columns: usize| {
            lt::create_matrix_layout(kind, rows as u64, columns as u64, rows as i64)
                .map_err(refused("cublasLtMatrixLayoutCreate"))
        };
        plan.weights = layout(sys::cudaDataType::CUDA_R_16BF, k, n)?;
        plan.input = layout(sys::cudaDataType::CUDA_R_16BF, k, m)?;
        plan.output = layout(output, n, m)?;
        plan.algorithm = choose(handle, &plan)?;
        Ok(plan)
    }
}

/// Asks the library for the algorithm it thinks fastest within our workspace.
fn choose(handle: &Handle, plan: &Plan) -> Result<sys::cublasLtMatmulAlgo_t, CudaError> {
    let preference = lt::create_matmul_pref().map_err(refused("cublasLtMatmulPreferenceCreate"))?;
    let bytes = WORKSPACE_BYTES;
    // SAFETY: every descriptor is alive; the attribute is read as a size before return; the
    // preference is destroyed once, whatever the search says.
    let found = unsafe {
        let found = lt::set_matmul_pref_attribute(
            preference,
            sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            (&raw const bytes).cast(),
            size_of::<usize>(),
        )
        .and_then(|()| {
            lt::get_matmul_algo_heuristic(
                handle.0,
                plan.product,
                plan.weights,
                plan.input,
                plan.output,
                plan.output,
                preference,
            )
        });
        let _ = lt::destroy_matmul_pref(preference);
        found
    };
    Ok(found.map_err(refused("choosing an algorithm"))?.algo)
}
