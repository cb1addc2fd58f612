/** What a form sends. Anybody may send one, so nobody is waited for long, nor are many at once. */

/** A form has some hundred bytes, which come with its header. */
const PATIENCE_MS = 3000;
const READING_MAX = 32;

let reading = 0;

/** null: it did not come whole and in time, or too many are being read. */
export async function readForm(request: Request): Promise<URLSearchParams | null> {
  if (reading >= READING_MAX) return null;
  reading++;
  let timer: NodeJS.Timeout | undefined;
  try {
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), PATIENCE_MS);
    });
    const text = await Promise.race([request.text().catch(() => null), late]);
    return text === null ? null : new URLSearchParams(text);
  } finally {
    clearTimeout(timer);
    reading--;
  }
}
