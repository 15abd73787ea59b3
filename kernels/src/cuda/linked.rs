//! CUDA's libraries for bindings that are linked: every function under its own name, found when first called.
//!
//! candle's bindings are linked against `libcuda`, `libcublas` and others, and a program that is linked against a
//! library does not start where that library is missing. So each of their functions is defined here, as one jump
//! through an [`Entry`]. The first call opens the library and looks the function up; later ones cost a load and two
//! jumps. Where the library or the function is missing, the call returns the library's own status for that, or a text where
//! the function returns one.
//!
//! # Invariants
//!
//! - A function has the name its library gives it, so the linker takes it and needs no library.
//! - Arguments reach the real function as they were: in registers, which the search saves, or on the stack.
//! - A library that was opened stays open, so an address that was found stays good.
//!
//! # Deliberately absent
//!
//! CUDA's runtime library: the toolkit has it in a form that is linked into the program, and `build.rs` takes that.
//!
//! The lists of names are what cudarc 0.19.10 refers to with the features that candle asks for. One that is missing is
//! an error of the linker which names it.

use std::arch::naked_asm;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("the feature `candle-cuda` is for Linux on x86-64; build with `cuda` alone");

/// Defines functions of a library under their own names.
#[cfg(feature = "candle-cuda")]
macro_rules! functions {
    ($library:ident: $($name:ident)*) => { functions! { new $library: $($name)* } };
    ($library:ident, of text: $($name:ident)*) => { functions! { of_text $library: $($name)* } };
    ($make:ident $library:ident: $($name:ident)*) => { $(
        const _: () = {
            static ENTRY: Entry = Entry::$make(&$library, concat!(stringify!($name), "\0"));

            // The body is one jump that keeps every register but `r11`, and nothing else of the program has a name
            // of these libraries.
            /// The function of this name in its library.
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            extern "C" fn $name() {
                naked_asm!("lea r11, [rip + {entry}]", "jmp {call}", entry = sym ENTRY, call = sym call)
            }
        };
    )* };
}

#[cfg(feature = "candle-cuda")]
mod cublas;
#[cfg(feature = "candle-cuda")]
mod curand;
#[cfg(feature = "candle-cuda")]
mod driver;
#[cfg(feature = "candle-cuda")]
mod nvrtc;

#[cfg(feature = "candle-cuda")]
pub(super) use cublas::{CUBLAS, CUBLASLT};
#[cfg(feature = "candle-cuda")]
pub(super) use curand::CURAND;
#[cfg(feature = "candle-cuda")]
pub(super) use driver::DRIVER;

/// A library of CUDA, opened at the first need.
#[derive(Debug)]
pub(super) struct Library {
    /// Names of its file, the preferred one first.
    files: &'static [&'static CStr],
    /// What a call of it returns if it is missing.
    status_if_missing: extern "C" fn() -> i32,
    /// What the loader calls it; null if it is missing.
    handle: OnceLock<AtomicPtr<c_void>>,
}

impl Library {
    const fn new(files: &'static [&'static CStr], status_if_missing: extern "C" fn() -> i32) -> Self {
        Self { files, status_if_missing, handle: OnceLock::new() }
    }

    /// The name of its file.
    #[cfg(feature = "candle-cuda")]
    pub(super) fn file_name(&self) -> String {
        self.files.first().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Whether it is installed. It is opened, and stays open.
    pub(super) fn is_present(&self) -> bool {
        !self.handle().is_null()
    }

    fn handle(&self) -> *mut c_void {
        let open = || {
            let handles = self.files.iter().map(|file| {
                // SAFETY: the name ends with a zero and is never freed. The library's initialisers run, as they
                // would in any program that is linked against it, and need nothing from us.
                unsafe { libc::dlopen(file.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) }
            });
            AtomicPtr::new(handles.into_iter().find(|handle| !handle.is_null()).unwrap_or(ptr::null_mut()))
        };
        self.handle.get_or_init(open).load(Ordering::Acquire)
    }
}

/// A function and, once it was called, where it is.
#[repr(C)]
struct Entry {
    /// Null until the first call. The first field: [`call`] reads it by the entry's own address.
    address: AtomicPtr<c_void>,
    library: &'static Library,
    /// Ends with a zero.
    name: &'static str,
    /// Whether it returns a text, which callers read whatever it is, and not a status.
    returns_text: bool,
}

impl Entry {
    const fn new(library: &'static Library, name: &'static str) -> Self {
        Self { address: AtomicPtr::new(ptr::null_mut()), library, name, returns_text: false }
    }

    const fn of_text(library: &'static Library, name: &'static str) -> Self {
        Self { returns_text: true, ..Self::new(library, name) }
    }
}

/// Goes on to the function of the entry in `r11`, a register that carries no argument and that nobody expects back.
#[unsafe(naked)]
extern "C" fn call() {
    naked_asm!(
        "mov r10, [r11]",
        "test r10, r10",
        "jz 2f",
        "jmp r10",
        // The search must leave the arguments as they are: integers in six registers, numbers in eight, and in `al` how
        // many of the eight where a function takes any number of arguments.
        "2:",
        "push rdi",
        "push rsi",
        "push rdx",
        "push rcx",
        "push r8",
        "push r9",
        "push rax",
        // With the return address these seven make 64 bytes; a call wants a multiple of 16.
        "sub rsp, 128",
        "movups [rsp], xmm0",
        "movups [rsp + 16], xmm1",
        "movups [rsp + 32], xmm2",
        "movups [rsp + 48], xmm3",
        "movups [rsp + 64], xmm4",
        "movups [rsp + 80], xmm5",
        "movups [rsp + 96], xmm6",
        "movups [rsp + 112], xmm7",
        "mov rdi, r11",
        "call {find}",
        "mov r10, rax",
        "movups xmm0, [rsp]",
        "movups xmm1, [rsp + 16]",
        "movups xmm2, [rsp + 32]",
        "movups xmm3, [rsp + 48]",
        "movups xmm4, [rsp + 64]",
        "movups xmm5, [rsp + 80]",
        "movups xmm6, [rsp + 96]",
        "movups xmm7, [rsp + 112]",
        "add rsp, 128",
        "pop rax",
        "pop r9",
        "pop r8",
        "pop rcx",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "jmp r10",
        find = sym find,
    )
}

/// Looks a function up and keeps its address. Two threads may do so at once: they find the same.
extern "C" fn find(entry: &'static Entry) -> *mut c_void {
    let Entry { address, library, name, returns_text } = entry;
    let handle = library.handle();
    let mut found = ptr::null_mut();
    if !handle.is_null() {
        // SAFETY: the library was opened and is never closed; the name ends with a zero.
        found = unsafe { libc::dlsym(handle, name.as_ptr().cast::<c_char>()) };
    }
    if found.is_null() {
        found = if *returns_text {
            text_if_missing as *mut c_void
        } else {
            library.status_if_missing as *mut c_void
        };
    }
    address.store(found, Ordering::Release);
    found
}

/// What a missing function that returns a text says.
extern "C" fn text_if_missing() -> *const c_char {
    c"library missing".as_ptr()
}

#[cfg(test)]
mod tests;
