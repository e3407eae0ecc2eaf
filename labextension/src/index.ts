/** JupyterLab shows what the cells of the course are. */

import {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import {
  EditorExtensionRegistry,
  IEditorExtensionRegistry
} from '@jupyterlab/codemirror';
import { INotebookTracker, Notebook } from '@jupyterlab/notebook';

import { decorate } from './cell';
import { dimOptionLines } from './dim';

/** Decorate the cells that a notebook has, and those that it gets. */
function watch(notebook: Notebook): void {
  const all = () => notebook.widgets.forEach(decorate);
  const follow = () => {
    // The widget of a new cell is made after this signal.
    notebook.model?.cells.changed.connect(() => queueMicrotask(all));
    all();
  };
  notebook.modelChanged.connect(follow);
  follow();
}

const cells: JupyterFrontEndPlugin<void> = {
  id: 'cxr-tutorial-cells:cells',
  description: 'Labels wrong, right and check cells, and folds marked code.',
  autoStart: true,
  requires: [INotebookTracker],
  activate: (_: JupyterFrontEnd, tracker: INotebookTracker) => {
    tracker.widgetAdded.connect((_, panel) => watch(panel.content));
    tracker.forEach(panel => watch(panel.content));
  }
};

const options: JupyterFrontEndPlugin<void> = {
  id: 'cxr-tutorial-cells:options',
  description: 'Dims the #| lines of nbdev and Quarto.',
  autoStart: true,
  requires: [IEditorExtensionRegistry],
  activate: (_: JupyterFrontEnd, registry: IEditorExtensionRegistry) => {
    registry.addExtension({
      name: 'cxr-tutorial-cells:options',
      factory: () =>
        EditorExtensionRegistry.createImmutableExtension(dimOptionLines)
    });
  }
};

export default [cells, options];
