/**
 * Other tabs of this origin hear of an answer; what they get is the cookie's text. A browser
 * without BroadcastChannel (Safari before 15.4) finds out when the tab is looked at.
 */
export function createTabs(heard: (text: string) => void): (text: string) => void {
  if (!window.BroadcastChannel) return () => {};
  const channel = new BroadcastChannel("consentry");
  channel.onmessage = ({ data }) => heard(data);
  return (text) => channel.postMessage(text);
}
