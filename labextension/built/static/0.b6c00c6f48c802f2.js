"use strict";(self.rspackChunkcxr_tutorial_cells=self.rspackChunkcxr_tutorial_cells||[]).push([[0],{15(e,r,t){var o=t(16),n=t.n(o),a=t(17),c=(t.n(a))()(n());c.push([e.id,`/* Colours that people with colour blindness can tell apart; each has its word and its icon. */
.jp-CodeCell {
  --cxr-wrong: #a34100;
  --cxr-right: #00588f;
  --cxr-check: #00664f;
}

[data-jp-theme-light='false'] .jp-CodeCell {
  --cxr-wrong: #ffa469;
  --cxr-right: #7cc4f5;
  --cxr-check: #5fd0ac;
}

.cxr-wrong {
  --cxr-colour: var(--cxr-wrong);
}

.cxr-right {
  --cxr-colour: var(--cxr-right);
}

.cxr-check {
  --cxr-colour: var(--cxr-check);
}

.jp-Cell > .cxr-header {
  height: auto;
}

.cxr-bar {
  display: flex;
  align-items: center;
  gap: 12px;
  min-height: 24px;
  padding: 2px 0;
  margin-left: calc(
    var(--jp-cell-collapser-width) + var(--jp-cell-prompt-width) + 2 *
      var(--jp-border-width, 1px)
  );
  font-family: var(--jp-ui-font-family);
  font-size: var(--jp-ui-font-size1);
}

.cxr-bar[hidden] {
  display: none;
}

.cxr-label {
  display: inline-flex;
  align-items: center;
  gap: 6px;
  font-weight: 600;
  color: var(--cxr-colour);
}

.cxr-label svg {
  width: 15px;
  height: 15px;
  fill: none;
  stroke: currentcolor;
  stroke-width: 2;
  stroke-linecap: round;
  stroke-linejoin: round;
}

.cxr-wrong .jp-InputArea-editor,
.cxr-right .jp-InputArea-editor,
.cxr-check .jp-InputArea-editor {
  border-left: 4px solid var(--cxr-colour);
}

.cxr-fold {
  font: inherit;
  color: var(--jp-ui-font-color1);
  background: transparent;
  border: 1px solid var(--jp-border-color1);
  border-radius: 4px;
  padding: 1px 8px;
  cursor: pointer;
}

.cxr-fold::before {
  content: '▸ ' / '';
}

.cxr-fold[aria-expanded='true']::before {
  content: '▾ ' / '';
}

.cxr-fold:hover {
  background: var(--jp-layout-color2);
}

.cxr-fold:focus-visible {
  outline: 2px solid var(--jp-brand-color1);
  outline-offset: 1px;
}

/* The button says it already, and keys reach it. */
.cxr-foldable .jp-InputPlaceholder {
  display: none;
}

.cxr-option-line,
.cxr-option-line span {
  color: #6b6b6b !important;
}

[data-jp-theme-light='false'] .cxr-option-line,
[data-jp-theme-light='false'] .cxr-option-line span {
  color: #a0a0a0 !important;
}

.cxr-option-line {
  font-size: 0.85em;
}
`,""]),t.d(r,{},{A:c})},17(e){e.exports=function(e){var r=[];return r.toString=function(){return this.map(function(r){var t="",o=void 0!==r[5];return r[4]&&(t+="@supports (".concat(r[4],") {")),r[2]&&(t+="@media ".concat(r[2]," {")),o&&(t+="@layer".concat(r[5].length>0?" ".concat(r[5]):""," {")),t+=e(r),o&&(t+="}"),r[2]&&(t+="}"),r[4]&&(t+="}"),t}).join("")},r.i=function(e,t,o,n,a){"string"==typeof e&&(e=[[null,e,void 0]]);var c={};if(o)for(var i=0;i<this.length;i++){var l=this[i][0];null!=l&&(c[l]=!0)}for(var s=0;s<e.length;s++){var p=[].concat(e[s]);o&&c[p[0]]||(void 0!==a&&(void 0===p[5]||(p[1]="@layer".concat(p[5].length>0?" ".concat(p[5]):""," {").concat(p[1],"}")),p[5]=a),t&&(p[2]&&(p[1]="@media ".concat(p[2]," {").concat(p[1],"}")),p[2]=t),n&&(p[4]?(p[1]="@supports (".concat(p[4],") {").concat(p[1],"}"),p[4]=n):p[4]="".concat(n)),r.push(p))}},r}},16(e){e.exports=function(e){return e[1]}},9(e){var r=[];function t(e){for(var t=-1,o=0;o<r.length;o++)if(r[o].identifier===e){t=o;break}return t}function o(e,o){for(var n={},a=[],c=0;c<e.length;c++){var i=e[c],l=o.base?i[0]+o.base:i[0],s=n[l]||0,p="".concat(l," ").concat(s);n[l]=s+1;var u=t(p),d={css:i[1],media:i[2],sourceMap:i[3],supports:i[4],layer:i[5]};if(-1!==u)r[u].references++,r[u].updater(d);else{var f=function(e,r){var t=r.domAPI(r);return t.update(e),function(r){r?(r.css!==e.css||r.media!==e.media||r.sourceMap!==e.sourceMap||r.supports!==e.supports||r.layer!==e.layer)&&t.update(e=r):t.remove()}}(d,o);o.byIndex=c,r.splice(c,0,{identifier:p,updater:f,references:1})}a.push(p)}return a}e.exports=function(e,n){var a=o(e=e||[],n=n||{});return function(e){e=e||[];for(var c=0;c<a.length;c++){var i=t(a[c]);r[i].references--}for(var l=o(e,n),s=0;s<a.length;s++){var p=t(a[s]);0===r[p].references&&(r[p].updater(),r.splice(p,1))}a=l}}},11(e){var r={};e.exports=function(e,t){var o=function(e){if(void 0===r[e]){var t=document.querySelector(e);if(window.HTMLIFrameElement&&t instanceof window.HTMLIFrameElement)try{t=t.contentDocument.head}catch(e){t=null}r[e]=t}return r[e]}(e);if(!o)throw Error("Couldn't find a style target. This probably means that the value for the 'insert' parameter is invalid.");o.appendChild(t)}},13(e){e.exports=function(e){var r=document.createElement("style");return e.setAttributes(r,e.attributes),e.insert(r,e.options),r}},12(e,r,t){e.exports=function(e){var r=t.nc;r&&e.setAttribute("nonce",r)}},10(e){e.exports=function(e){if("u"<typeof document)return{update:function(){},remove:function(){}};var r=e.insertStyleElement(e);return{update:function(t){var o,n,a;o="",t.supports&&(o+="@supports (".concat(t.supports,") {")),t.media&&(o+="@media ".concat(t.media," {")),(n=void 0!==t.layer)&&(o+="@layer".concat(t.layer.length>0?" ".concat(t.layer):""," {")),o+=t.css,n&&(o+="}"),t.media&&(o+="}"),t.supports&&(o+="}"),(a=t.sourceMap)&&"u">typeof btoa&&(o+="\n/*# sourceMappingURL=data:application/json;base64,".concat(btoa(unescape(encodeURIComponent(JSON.stringify(a))))," */")),e.styleTagTransform(o,r,e.options)},remove:function(){var e;null===(e=r).parentNode||e.parentNode.removeChild(e)}}}},14(e){e.exports=function(e,r){if(r.styleSheet)r.styleSheet.cssText=e;else{for(;r.firstChild;)r.removeChild(r.firstChild);r.appendChild(document.createTextNode(e))}}},8(e,r,t){var o=t(9),n=t.n(o),a=t(10),c=t.n(a),i=t(11),l=t.n(i),s=t(12),p=t.n(s),u=t(13),d=t.n(u),f=t(14),h=t.n(f),x=t(15),v={};v.styleTagTransform=h(),v.setAttributes=p(),v.insert=l().bind(null,"head"),v.domAPI=c(),v.insertStyleElement=d(),n()(x.A,v),x.A&&x.A.locals&&x.A.locals}}]);