/** The second file: it hands the controls to the loader, which is on the page already. */
import { mount } from "./ui/index";

window.consentry?.mount(mount);
