/** Shows the `#|` lines of every editor in a quiet grey. */

import { RangeSetBuilder } from '@codemirror/state';
import {
  Decoration,
  DecorationSet,
  EditorView,
  ViewPlugin,
  ViewUpdate
} from '@codemirror/view';

const quiet = Decoration.line({ class: 'cxr-option-line' });

function optionLines(view: EditorView): DecorationSet {
  const builder = new RangeSetBuilder<Decoration>();
  for (const { from, to } of view.visibleRanges) {
    for (let at = from; at <= to; ) {
      const line = view.state.doc.lineAt(at);
      if (line.text.startsWith('#|')) {
        builder.add(line.from, line.from, quiet);
      }
      at = line.to + 1;
    }
  }
  return builder.finish();
}

export const dimOptionLines = ViewPlugin.fromClass(
  class {
    decorations: DecorationSet;

    constructor(view: EditorView) {
      this.decorations = optionLines(view);
    }

    update(update: ViewUpdate): void {
      if (update.docChanged || update.viewportChanged) {
        this.decorations = optionLines(update.view);
      }
    }
  },
  { decorations: plugin => plugin.decorations }
);
