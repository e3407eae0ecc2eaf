/** The bar above a code cell: what the cell is, and the button of folded code. */

import { Cell, CodeCell } from '@jupyterlab/cells';

import { readMarks, Role } from './options';

const WORDS: Record<Role, string> = {
  wrong: 'Wrong way',
  right: 'Right way',
  check: 'Check'
};

// Drawn on 16 × 16 in the colour of the text: a cross, a tick, a balance.
const ICONS: Record<Role, string> = {
  wrong: 'M4 4l8 8M12 4l-8 8',
  right: 'M2.5 8.5l4 4 7-9',
  check: 'M8 2v11.5M4.5 13.5h7M3 4.5h10M3 4.5L1 9.5h4zM13 4.5l-2 5h4z'
};

const SVG = 'http://www.w3.org/2000/svg';

function icon(role: Role): SVGElement {
  const svg = document.createElementNS(SVG, 'svg');
  const path = document.createElementNS(SVG, 'path');
  svg.setAttribute('viewBox', '0 0 16 16');
  svg.setAttribute('aria-hidden', 'true');
  path.setAttribute('d', ICONS[role]);
  svg.append(path);
  return svg;
}

/**
 * Labels one code cell and keeps the label true: after edits, when the code is
 * folded or opened by other means, and when JupyterLab names the cell anew.
 */
export class CellBar {
  private _label = document.createElement('span');
  private _button = document.createElement('button');
  private _bar = document.createElement('div');
  private _foldable: boolean;
  private _role: Role | null = null;
  private _observer: MutationObserver;

  constructor(private _cell: CodeCell) {
    const marks = readMarks(this._source);
    this._foldable = marks.folded;
    this._bar.className = 'cxr-bar';
    this._label.className = 'cxr-label';
    this._button.type = 'button';
    this._button.className = 'cxr-fold';
    this._button.addEventListener('click', () => {
      this._setFolded(!_cell.inputHidden);
      this._button.focus();
    });
    // Enter and the arrow keys are for the button here, not for the notebook.
    this._bar.setAttribute('data-lm-suppress-shortcuts', 'true');
    this._observer = new MutationObserver(() => this.update());
    this._observer.observe(_cell.node, { attributeFilter: ['aria-label'] });
    _cell.model.contentChanged.connect(this.update, this);
    _cell.disposed.connect(this._dispose, this);
    void _cell.ready.then(() => {
      if (_cell.isDisposed) {
        return;
      }
      const header = _cell.node.querySelector(':scope > .jp-CellHeader');
      header?.classList.add('cxr-header');
      header?.append(this._bar);
      const wrapper = _cell.node.querySelector('.jp-Cell-inputWrapper');
      if (wrapper) {
        this._observer.observe(wrapper, { childList: true });
      }
      if (marks.folded) {
        this._setFolded(true);
      }
      this.update();
    });
    this.update();
  }

  /** Show what the source says now. Changes nothing where nothing has changed. */
  update(): void {
    const { role, folded } = readMarks(this._source);
    this._foldable ||= folded || this._cell.inputHidden;
    this._showRole(role);
    const hidden = this._cell.inputHidden;
    const words = hidden ? 'Show code' : 'Hide code';
    if (this._button.textContent !== words) {
      this._button.textContent = words;
    }
    this._button.setAttribute('aria-expanded', String(!hidden));
    if (this._foldable !== this._button.isConnected) {
      this._foldable ? this._bar.append(this._button) : this._button.remove();
    }
    this._cell.node.classList.toggle('cxr-foldable', this._foldable);
    this._bar.hidden = !role && !this._foldable;
  }

  private get _source(): string {
    return this._cell.model.sharedModel.getSource();
  }

  private _showRole(role: Role | null): void {
    const { node } = this._cell;
    for (const each of Object.keys(WORDS) as Role[]) {
      node.classList.toggle(`cxr-${each}`, each === role);
    }
    if (role !== this._role) {
      this._label.remove();
      node.removeAttribute('role');
      if (role) {
        node.setAttribute('role', 'group'); // without a role, the name is not read
        this._label.replaceChildren(icon(role), WORDS[role]);
        this._bar.prepend(this._label);
      }
    }
    this._name(role);
    this._role = role;
  }

  /** JupyterLab's name of the cell, with the role in front. */
  private _name(role: Role | null): void {
    const { node } = this._cell;
    const given = node.getAttribute('aria-label') ?? 'Code Cell Content';
    const own = this._role ? `${WORDS[this._role]}: ` : '';
    const plain = own && given.startsWith(own) ? given.slice(own.length) : given;
    const name = role ? `${WORDS[role]}: ${plain}` : plain;
    if (name !== given) {
      node.setAttribute('aria-label', name);
    }
  }

  /**
   * Fold or open without a trace in the file. The cell stops saving its fold:
   * switching that on again would bring back what the file says.
   */
  private _setFolded(folded: boolean): void {
    this._cell.syncCollapse = false;
    this._cell.inputHidden = folded;
    this.update();
  }

  private _dispose(): void {
    this._observer.disconnect();
  }
}

const bars = new WeakMap<Cell, CellBar>();

/** Give a code cell its bar, once. */
export function decorate(cell: Cell): void {
  if (cell instanceof CodeCell && !cell.isDisposed && !bars.has(cell)) {
    bars.set(cell, new CellBar(cell));
  }
}
