/** Other tabs of this origin hear of an answer; what they get is the cookie's text. */
const NAME = "consentry.tab";

export function createTabs(heard: (text: string) => void): (text: string) => void {
  if (window.BroadcastChannel) {
    const channel = new BroadcastChannel(NAME);
    channel.onmessage = ({ data }) => heard(data);
    return (text) => channel.postMessage(text);
  }
  addEventListener("storage", ({ key, newValue }) => {
    if (key === NAME && newValue) heard(newValue);
  });
  return (text) => {
    try {
      localStorage.setItem(NAME, text);
      localStorage.removeItem(NAME);
    } catch {
      // Then the others find out when they are looked at.
    }
  };
}
