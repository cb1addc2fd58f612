/** The error of this folder, in a file of its own, so that files of src/ can import it without loading bun:ffi. */

/** A C library that cannot be used: it is missing or too old, or FFI failed. */
export class LibraryError extends Error {
  override readonly name = "LibraryError";
}
