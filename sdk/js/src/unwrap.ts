/**
 * Firefox asks ahead for what its parser sees in a template, as if it stood in the page: pictures, and behind the first
 * other element also scripts and style sheets. In a comment it sees nothing. So what is in a template may be in a comment
 * there, and comes out of it here. No page ever sees it as text: it was the page's own markup.
 */
interface Types {
  createHTML(text: string): string;
}

const ASKED_AHEAD = "img,source,script[src],link,[poster],image,[href]:not(a)";
let warned = false;

/** Afterwards a template's content is what its one comment says, if it holds nothing beside. */
export function unwrap(element: Element, types: Types): void {
  if (!(element instanceof HTMLTemplateElement)) return;
  const { content } = element;
  const found = [...content.childNodes].filter((node) => !(node instanceof Text && !node.data.trim()));
  const only = found[0];
  if (found.length === 1 && only instanceof Comment) {
    const markup = types.createHTML(`<template>${only.data}`);
    const page = Document.parseHTMLUnsafe?.(markup) ?? new DOMParser().parseFromString(markup, "text/html");
    content.replaceChildren(...page.querySelector("template")!.content.childNodes);
  } else if (!warned && content.querySelector(ASKED_AHEAD)) {
    warned = true;
    console.warn("consentry: Firefox asks ahead for what is in a template; put it into a comment there", element);
  }
}
