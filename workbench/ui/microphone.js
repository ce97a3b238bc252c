// A button that records what the microphone hears and hands it to the kernel as one file, as the browser encodes it.
function render({ model, el }) {
  const button = document.createElement("button");
  button.className = "jupyter-widgets jupyter-button widget-button wb-button";
  const say = (text) => { button.textContent = text; };
  let recorder = null;

  async function start() {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const parts = [];
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = async () => {
      stream.getTracks().forEach((track) => track.stop());
      const whole = new Blob(parts);
      recorder = null;
      say("Record");
      model.set("failure", "");
      model.set("recording", new DataView(await whole.arrayBuffer()));
      model.save_changes();
    };
    recorder.start();
    say("Stop recording");
  }

  button.onclick = async () => {
    if (recorder) return recorder.stop();
    try {
      if (!navigator.mediaDevices) throw new Error("this page is not served from this computer or over https");
      await start();
    } catch (error) {
      model.set("failure", String(error.message || error));
      model.save_changes();
    }
  };
  say("Record");
  el.appendChild(button);
}
export default { render };
