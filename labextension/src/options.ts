/** What a cell says about itself in its `#|` lines, as nbdev and Quarto read them. */

export type Role = 'wrong' | 'right' | 'check';

export interface Marks {
  /** One of the three cells of a pitfall: `#| classes: wrong`. */
  role: Role | null;
  /** Code that is folded at first: `#| code-fold: true`, `#| echo: false`, `#| hide`. */
  folded: boolean;
}

const ROLE = /^#\|\s*classes:.*\b(wrong|right|check)\b/;
const FOLDED = /^#\|\s*(?:hide\s*$|(?:code-fold:\s*true|echo:\s*false)\s*$)/;

/** Read the lines before the code; a `#|` further down is a comment. */
export function readMarks(source: string): Marks {
  const marks: Marks = { role: null, folded: false };
  for (const line of source.split('\n')) {
    if (!line.startsWith('#|')) {
      if (line.trim()) {
        break;
      }
      continue;
    }
    marks.role ??= (ROLE.exec(line)?.[1] as Role | undefined) ?? null;
    marks.folded ||= FOLDED.test(line);
  }
  return marks;
}
