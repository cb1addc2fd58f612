/** The failure that loading or calling a C library can have. ffi/ imports nothing of src/. */

/** A C library that cannot be used: it is missing or too old, or FFI failed. */
export class LibraryError extends Error {
  override readonly name = "LibraryError";
}
