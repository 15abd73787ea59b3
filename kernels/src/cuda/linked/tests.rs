//! Jumps into libraries that every Linux has, into one that none has, and what arguments they pass on.

use super::*;

/// Stands in for a library that is not installed.
static ABSENT: Library = Library::new(&[c"libspillway-has-no-such-library.so.1"], refused);
/// One that every Linux has.
static MATHS: Library = Library::new(&[c"libspillway-has-no-such-library.so.1", c"libm.so.6"], refused);
static C: Library = Library::new(&[c"libc.so.6"], refused);

extern "C" fn refused() -> i32 {
    77
}

/// Defines a function that goes on to the one of this name, under another name: the test has the real one, too.
macro_rules! jump {
    ($jump:ident($($argument:ty),*) -> $result:ty, $library:ident, $name:literal) => {
        jump!($jump($($argument),*) -> $result, $library, $name, new);
    };
    ($jump:ident($($argument:ty),*) -> $result:ty, $library:ident, $name:literal, $make:ident) => {
        #[unsafe(naked)]
        extern "C" fn $jump($(_: $argument),*) -> $result {
            static ENTRY: Entry = Entry::$make(&$library, concat!($name, "\0"));
            naked_asm!("lea r11, [rip + {entry}]", "jmp {call}", entry = sym ENTRY, call = sym call)
        }
    };
}

jump!(absent(u64) -> i32, ABSENT, "anything");
jump!(missing(u64) -> i32, C, "spillway_has_no_such_function");
jump!(absent_text(i32) -> *const c_char, ABSENT, "anything", of_text);
jump!(missing_text(i32) -> *const c_char, C, "spillway_has_no_such_function", of_text);
jump!(text_of_signal(i32) -> *const c_char, C, "strsignal", of_text);
jump!(powers(f64, f64) -> f64, MATHS, "pow");
jump!(compares(*const u8, *const u8, usize) -> i32, C, "memcmp");

#[test]
fn a_call_into_a_library_or_function_that_is_missing_returns_the_librarys_status() {
    assert!(!ABSENT.is_present() && C.is_present());
    assert_eq!((absent(1), absent(2)), (77, 77));
    assert_eq!(missing(1), 77);
}

#[test]
fn a_missing_function_that_returns_a_text_returns_one_that_can_be_read() {
    for _ in 0..2 {
        for (text, expected) in [
            (absent_text(1), c"library missing"),
            (missing_text(1), c"library missing"),
            (text_of_signal(libc::SIGKILL), c"Killed"),
        ] {
            // SAFETY: either is a text that ends with a zero; that of a known signal stays where it is.
            assert_eq!(unsafe { CStr::from_ptr(text) }, expected);
        }
    }
}

#[test]
fn arguments_and_results_pass_the_first_call_and_the_later_ones() {
    for _ in 0..2 {
        assert!((powers(3.0, 4.0) - 81.0).abs() < 1e-12);
        assert_eq!(compares(b"abcd".as_ptr(), b"abxd".as_ptr(), 2), 0);
        assert!(compares(b"abcd".as_ptr(), b"abxd".as_ptr(), 3) < 0);
    }
}

/// There are more arguments than registers, some of them numbers, and a register tells how many of these there are.
#[test]
fn arguments_on_the_stack_and_the_count_of_numbers_are_left_as_they_are() {
    // SAFETY: whoever calls it gives what the form asks for, and room for the text.
    type Prints = unsafe extern "C" fn(*mut u8, usize, *const u8, ...) -> i32;

    jump!(jump() -> (), C, "snprintf");
    // SAFETY: the jump leads to a function of this type.
    let prints = unsafe { std::mem::transmute::<extern "C" fn(), Prints>(jump) };
    for _ in 0..2 {
        let mut text = [0_u8; 64];
        let form = c"%d %d %d %d %.1f %d %.1f";
        // SAFETY: the text has the room that is told, and the form asks for these arguments.
        let length =
            unsafe { prints(text.as_mut_ptr(), text.len(), form.as_ptr().cast(), 1, 2, 3, 4, 5.5, 6, 7.5) };
        assert_eq!(&text[..length as usize], b"1 2 3 4 5.5 6 7.5");
    }
}
